"""The errors that the functions raise. The names are an interface: the workflow's Retry reads them.

    RenewalError
    ├── TryAgain                transient; the workflow runs the task again
    │   ├── PaymentError        ProcessPayment: the gateway gave no clear answer, or AWS faltered
    │   ├── ReceiptError        GenerateReceipt
    │   └── MailError           SendEmail, SendDeclineEmail
    ├── BadRow                  a subscription's row cannot be charged as it stands; names the field and the reason
    ├── BadEvent                the sender of such events does not send this event; not tried again
    ├── Outdated                the data behind a decision has changed; the data is read and the decision made again
    │   └── Overtaken           another writer was faster: the condition of a write did not hold. Handled within a task
    ├── Collision               other writers changed the same item at every try; becomes the task's TryAgain
    ├── NotHandedOver           the queue kept refusing messages; Lambda starts the sweep's run again
    ├── Throttled               DynamoDB kept leaving items out of its answers; becomes the task's TryAgain, and
    │                           Lambda starts the audit's run again
    ├── BadSecret               a secret is not the JSON that its reader expects
    ├── MissingSetting          the deployment did not set an environment variable
    └── BadSetting              an environment variable has an unusable value

A declined card is not an error but an outcome, which a Choice state of the workflow reads.
"""

from collections.abc import Callable, Mapping

from renewals.domain.item_values import Item


class RenewalError(Exception):
    """The base of every error raised on purpose. Messages carry ids, never names, addresses or secrets."""


class TryAgain(RenewalError):  # noqa: N818  (no ending Error: the name tells the workflow what to do)
    """A failure of the moment: nothing is known to be wrong for good, and a retry may succeed."""


class PaymentError(TryAgain):
    """The payment has no clear result yet."""


class ReceiptError(TryAgain):
    """The receipt could not be stored just now."""


class MailError(TryAgain):
    """The mail was certainly not sent; sending can be tried again."""


class BadRow(RenewalError):  # noqa: N818  (operators and metrics say "bad row")
    """A row of the subscriptions table cannot be renewed as it stands.

    Attributes:
        field: the attribute at fault.
        reason: the fault, in words.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class BadSecret(RenewalError):  # noqa: N818
    """A secret lacks the form that its reader's docstring gives. The message names the key at fault, never a value."""


class BadEvent(RenewalError):  # noqa: N818
    """An event, a request or a message lacks a field that its sender always sends, or has a value that its sender never
    sends. A retry would not help."""


class Outdated(RenewalError):  # noqa: N818
    """The data behind a decision has changed meanwhile: the data must be read again, and the decision made again."""


class Overtaken(Outdated):
    """Another writer was faster: the condition of a write did not hold, and nothing was written.

    The message names only the positions of the failed actions, since items hold personal data.

    Attributes:
        failed: the position of each action whose condition failed, with the item found in the table, or None for no
            item.
    """

    def __init__(self, failed: Mapping[int, Item | None]) -> None:
        super().__init__(f"the condition of action {', '.join(map(str, failed))} did not hold")
        self.failed = failed


def repeat_while_outdated[T](
    step: Callable[[], T], *, tries: int, otherwise: RenewalError, when: type[Outdated] = Outdated
) -> T:
    """Run a step that reads, decides and writes. While the step raises `when`, run the whole step again.

    Args:
        step: the step to run, at most `tries` times.
        tries: the number of tries.
        otherwise: the error to raise if the last try was outdated too.
        when: the error that a further try can help against; all other errors pass through.
    """
    for _ in range(tries):
        try:
            return step()
        except when:
            continue
    raise otherwise


class Collision(RenewalError):  # noqa: N818
    """Other writers changed the same items at every try."""


class NotHandedOver(RenewalError):  # noqa: N818
    """The queue did not accept all messages."""


class Throttled(RenewalError):  # noqa: N818
    """DynamoDB did not return all requested items."""


class MissingSetting(RenewalError):  # noqa: N818
    """An environment variable is not set. name: the variable."""

    def __init__(self, name: str) -> None:
        super().__init__(f"environment variable {name} is not set")
        self.name = name


class BadSetting(RenewalError):  # noqa: N818
    """An environment variable has an unusable value. name: the variable. reason: the fault of its value, in words."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"environment variable {name} {reason}")
        self.name = name
