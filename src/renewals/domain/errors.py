"""The errors that the functions speak in. The names are an interface: the workflow's Retry reads them.

    RenewalError
    ├── TryAgain                transient; the workflow runs the task again
    │   ├── PaymentError        ProcessPayment: the gateway gave no clear answer, or AWS faltered
    │   ├── ReceiptError        GenerateReceipt
    │   └── MailError           SendEmail, SendDeclineEmail
    ├── BadRow                  a subscription that cannot be charged as it stands; says which field and why
    ├── BadEvent                an event that no version of the workflow sends; not tried again
    ├── Outdated                what was read does not stand any more: everything is read again, and decided again
    │   └── Overtaken           another writer was faster: the condition of a write did not hold. Never leaves a task
    ├── Collision               other writers kept holding the same item; becomes the task's TryAgain
    ├── NotHandedOver           the queue kept refusing messages; the sweep's run is started again
    ├── Throttled               DynamoDB kept leaving items out of its answers; becomes the task's TryAgain, and the
    │                           audit's run is started again
    ├── BadSecret               a secret that is not the JSON which its reader expects
    ├── MissingSetting          an environment variable that the deployment did not set
    └── BadSetting              one that cannot be what it is set to

A declined card is not among them: that is an outcome, which a Choice state reads.
"""

from collections.abc import Callable, Mapping

from renewals.domain.item_values import Item


class RenewalError(Exception):
    """Whatever this system raises on purpose. Messages carry ids, never names, addresses or secrets."""


class TryAgain(RenewalError):  # noqa: N818  (a request to the workflow, not a fault)
    """Nothing is known to be wrong but the moment."""


class PaymentError(TryAgain):
    """The payment has no clear result yet."""


class ReceiptError(TryAgain):
    """The receipt could not be stored just now."""


class MailError(TryAgain):
    """The mail was certainly not sent; it can be tried again."""


class BadRow(RenewalError):  # noqa: N818  (the field's own term)
    """A subscription row that cannot be renewed as it stands.

    field: the attribute at fault. reason: what is wrong with it, in words.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class BadSecret(RenewalError):  # noqa: N818
    """A secret is not what its reader's docstring says. Names the key at fault, never a value."""


class BadEvent(RenewalError):  # noqa: N818
    """The event lacks something that the workflow always sends."""


class Outdated(RenewalError):  # noqa: N818
    """What a decision was made from does not stand any more: everything is to be read again, and decided again."""


class Overtaken(Outdated):
    """Another writer was faster: the condition of a write did not hold, and nothing was written.

    failed: the position of each action whose condition did not hold, with the item that stands there, None where there
    is no item. The message names the positions alone, since items hold personal data.
    """

    def __init__(self, failed: Mapping[int, Item | None]) -> None:
        super().__init__(f"the condition of action {', '.join(map(str, failed))} did not hold")
        self.failed = failed


def repeat_while_outdated[T](
    step: Callable[[], T], *, tries: int, otherwise: RenewalError, when: type[Outdated] = Outdated
) -> T:
    """Run a step that reads, decides and writes; run the step again, from its reading on, while it raises `when`.

    Args:
        step: what is run, at most `tries` times.
        tries: how often.
        otherwise: is raised where the last try was outdated too.
        when: what another try can help against; any other error passes.
    """
    for _ in range(tries):
        try:
            return step()
        except when:
            continue
    raise otherwise


class Collision(RenewalError):  # noqa: N818
    """Other writers kept holding the same items."""


class NotHandedOver(RenewalError):  # noqa: N818
    """The queue did not take all that it was sent."""


class Throttled(RenewalError):  # noqa: N818
    """DynamoDB did not answer for all items that it was asked for."""


class MissingSetting(RenewalError):  # noqa: N818
    """name: the environment variable that is not set."""

    def __init__(self, name: str) -> None:
        super().__init__(f"environment variable {name} is not set")
        self.name = name


class BadSetting(RenewalError):  # noqa: N818
    """name: the environment variable. reason: what is wrong with its value, in words."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"environment variable {name} {reason}")
        self.name = name
