"""What came of a task of the workflow: the `outcome` of its reply, which the Choice states of the workflow read."""

from enum import StrEnum


class PaymentOutcome(StrEnum):
    """What came of a request to renew, to remind, or to look at refunds; and what the tasks after it are to see to."""

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


class MailOutcome(StrEnum):
    """What came of a mail, the worst first."""

    MAIL_UNKNOWN = "mail_unknown"
    """The mail was sent or not: nobody can tell."""
    MAIL_FAILED = "mail_failed"
    """The address is at fault."""
    IN_PROGRESS = "in_progress"
    MAILED = "mailed"
    DROPPED = "dropped"
    """What the mail would say is true no more."""
