"""The parameters of the deployment, as typed and as SAM would store the values."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping

from scripts.preflight.findings import Finding, mind, ok, wrong
from scripts.transformed import written

# SAM's own rule (samcli/cli/types.py): a value without inner quotes ends at the first blank.
_GIVEN = re.compile(r'([A-Za-z0-9]+)=("(?:\\.|[^"\\])*"|(?:\\.|[^ "\\])*)')
_HIDDEN = "PaymentGatewayApiKey"


def defaults() -> dict[str, str]:
    """Return the template's default values."""
    return {name: str(each.get("Default", "")) for name, each in written()["Parameters"].items()}


def stored(words: Iterable[str]) -> dict[str, str]:
    """Return the values that SAM would store for the words after --parameter-overrides."""
    return {name: _unquoted(value) for word in words for name, value in _GIVEN.findall(word)}


def look(words: Iterable[str], values: Mapping[str, str]) -> Iterator[Finding]:
    """Yield the findings about the parameters. values: the values of all parameters, as they would be deployed."""
    known = written()["Parameters"]
    cut = False
    for word in words:
        name, _, meant = word.partition("=")
        left = _GIVEN.sub("", word).strip()
        if name not in known:
            yield wrong("values", f"The template has no parameter {name}.")
        elif left and name != _HIDDEN:
            cut = True
            typed = _typed(name, meant)
            yield wrong("values", f"SAM would store {name} as {values[name]!r}: SAM cuts at blanks. Type {typed}.")
    for name, declared in known.items():
        pattern = declared.get("AllowedPattern")
        if pattern and not re.fullmatch(pattern, values[name]):
            shown = "" if name == _HIDDEN else f" {values[name]!r}"
            yield wrong("values", f"{name}{shown} is refused: {declared['ConstraintDescription']}.")
    for name in ("SellerName", "SellerAddress"):
        if values[name] == known[name]["Default"]:
            yield mind("values", f"{name} is still the example, {values[name]!r}: every receipt prints the value.")
    if not values["SupportUrl"] and not values["ReplyToEmail"]:
        yield mind(
            "values",
            "Neither SupportUrl nor ReplyToEmail is set: mails and pages ask customers to contact you without an "
            f"address, and answers to mails go to {values['SenderEmail']}. Set one of the two, unless somebody reads "
            "the mail that arrives there.",
        )
    if not cut:
        yield ok("values", f"Receipts say {values['SellerName']!r}, {values['SellerAddress']!r}.")


def _typed(name: str, meant: str) -> str:
    """Return the word in a shell's form that makes SAM store the intended value."""
    escaped = meant.replace('"', '\\"')
    return shlex.quote(f'{name}="{escaped}"')


def _unquoted(value: str) -> str:
    return value[1:-1].replace('\\"', '"') if value.startswith('"') else value
