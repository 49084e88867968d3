"""The findings of the check, in plain words, with the necessary steps."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from botocore.exceptions import BotoCoreError, ClientError

_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"})


class Verdict(StrEnum):
    """The verdict of a finding.

    ok: nothing to do. mind: works, but somebody should know. wrong: would fail or do harm. unknown: nobody could tell.
    """

    OK = "ok"
    MIND = "mind"
    WRONG = "wrong"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding. about: the examined thing. told: the result, and what to do."""

    verdict: Verdict
    about: str
    told: str


def ok(about: str, told: str) -> Finding:
    return Finding(Verdict.OK, about, told)


def mind(about: str, told: str) -> Finding:
    return Finding(Verdict.MIND, about, told)


def wrong(about: str, told: str) -> Finding:
    return Finding(Verdict.WRONG, about, told)


def unknown(about: str, told: str) -> Finding:
    return Finding(Verdict.UNKNOWN, about, told)


def each(about: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """Yield the findings of a look at AWS. A missing answer of AWS is a finding as well, and the check continues."""
    try:
        yield from look()
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        why = "your AWS profile lacks the permission" if code in _DENIED else f"AWS answered {code}"
        yield unknown(
            about, f"{why} ({error.operation_name}). Ask somebody with the permission, or look in the console."
        )
    except BotoCoreError as error:
        yield unknown(about, f"The call to AWS failed: {type(error).__name__}.")
