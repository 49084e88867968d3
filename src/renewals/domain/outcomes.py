"""The results of the workflow's tasks: the `outcome` of a task's reply, which the Choice states of the workflow
read."""

from enum import StrEnum


class PaymentOutcome(StrEnum):
    """The result of a request to renew, to remind, to confirm changes or to settle refunds. The result selects the
    tasks that follow."""

    PAID = "paid"
    RECEIPTED = "receipted"
    DECLINED = "declined"
    ACTION_REQUIRED = "action_required"
    GIVEN_UP = "given_up"
    NOTHING_TO_DO = "nothing_to_do"
    IN_PROGRESS = "in_progress"
    REJECTED = "rejected"
    FAILED = "failed"
    REFUNDED = "refunded"
    REMIND = "remind"
    CONFIRM = "confirm"


class MailOutcome(StrEnum):
    """The result of a mail. The worst result comes first: a task that sends several mails answers with the worst of
    their results."""

    MAIL_UNKNOWN = "mail_unknown"
    """Nobody can tell whether the mail was sent."""
    MAIL_FAILED = "mail_failed"
    """The address is at fault."""
    IN_PROGRESS = "in_progress"
    MAILED = "mailed"
    DROPPED = "dropped"
    """The mail was not sent, because its content is no longer true."""
