"""The public forms: cancel a contract (§ 312k BGB), and withdraw from a contract (Directive (EU) 2023/2673), both
without a link and without a session. Each form is offered if its parameter says so.

Strangers send these forms, too. A sent form is counted and recorded in one write, and nothing else: no row is looked
up, so that the answer and its time say nothing about whose address is on file. DeclarationWorker decides afterwards
what follows.
"""

from __future__ import annotations

import secrets
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

from customer_page.request import Refused, home
from customer_page.visits import keys
from renewals.domain import declarations
from renewals.domain.declarations import Declaration, DeclarationKind, Fault, Recorded, Way
from renewals.language import marks
from renewals.ledger import source_limits
from renewals.ledger.declarations import Declarations
from renewals.runtime import aws, clock, telemetry
from renewals.runtime.settings import setting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_dynamodb.type_defs import UpdateTypeDef

    from customer_page.answers import PageAnswer
    from customer_page.pages import Pages
    from customer_page.request import Request
    from renewals.language import Words
    from renewals.runtime.clock import Moment
    from renewals.runtime.telemetry import Event

PATHS = frozenset(DeclarationKind)
"""The paths of the forms below /account, each the name of a kind of declaration."""

_SETTINGS = {
    DeclarationKind.CANCELLATION: "CANCELLATION_FORM",
    DeclarationKind.WITHDRAWAL: "WITHDRAWAL_FORM",
}
_FIELDS = {
    Fault.NAME_MISSING: ("name", "forms.name"),
    Fault.CONTRACT_MISSING: ("contract", "forms.contract"),
    Fault.ADDRESS_WRONG: ("address", "forms.address"),
    Fault.REASON_MISSING: ("reason", "forms.reason"),
    Fault.DATE_WRONG: ("wished", "forms.wished"),
}
"""The field at fault, with the key of its label. A text that is too long may be in any field."""
_LONGEST_ID = 64


def links(event: Event) -> tuple[tuple[str, str], ...]:
    """Return the links to the offered forms, each with the key of its label."""
    root = home(event)
    kinds = [kind for kind in DeclarationKind if _is_offered(kind)] if root else []
    return tuple((f"{root}/{kind}", f"forms.link_{kind}") for kind in kinds)


def answer(request: Request, pages: Pages) -> PageAnswer:
    """Show a form, or record a sent form. Raises Refused if the form is not offered."""
    kind = DeclarationKind(request.path)
    if not _is_offered(kind):
        raise Refused(HTTPStatus.NOT_FOUND)
    if request.method == "GET":
        return form_page(kind, pages, {"id": secrets.token_hex(16)}, ())
    # Without the page's id, nobody can tell that a form was sent twice: each such form is a declaration of its own.
    form_id = request.form.get("id") or secrets.token_hex(16)
    form = {**request.form, "id": form_id}
    declaration, faults = declarations.filled(kind, form)
    if declaration is None:
        return form_page(kind, pages, form, faults)
    moment = clock.current()
    record = _table().record(declaration, form_id, moment.wall, _count(request, moment))
    if record is None:
        return form_page(kind, pages, form, (), is_beyond_limit=True)
    telemetry.logger().info("declared", extra={"number": record.number})
    return declared_page(record, pages, moment)


def _count(request: Request, moment: Moment) -> UpdateTypeDef:
    """Return the update that counts one more declaration from the request's source, and fails at the limit."""
    counters, key = setting("COUNTERS_TABLE"), keys().current
    return source_limits.one_more(counters, key, source_limits.DECLARATIONS, request.source, moment.wall)


def _is_offered(kind: DeclarationKind) -> bool:
    return setting(_SETTINGS[kind]) == "on"


def form_page(
    kind: DeclarationKind,
    pages: Pages,
    typed: Mapping[str, str],
    faults: Sequence[Fault],
    *,
    is_beyond_limit: bool = False,
) -> PageAnswer:
    """Show the form.

    Args:
        kind: what is declared.
        pages: the pages in the browser's language.
        typed: what the fields hold, beside the form's random id.
        faults: what is wrong with the form.
        is_beyond_limit: whether the form was not recorded because the source has reached the limit.
    """
    status = HTTPStatus.UNPROCESSABLE_ENTITY if faults else HTTPStatus.OK
    title, text = f"forms.title_{kind}", f"forms.text_{kind}"
    if is_beyond_limit:
        status, title, text = HTTPStatus.TOO_MANY_REQUESTS, "forms.limit_title", "forms.limit_text"
    kept = {name: typed.get(name, "") for name in ("name", "contract", "address", "way", "reason", "wished")}
    return pages.page(
        "declare.html",
        status,
        title=title,
        text=text,
        button=f"forms.button_{kind}",
        kind=kind.value,
        id=typed.get("id", "")[:_LONGEST_ID],
        typed=kept,
        faults=[_told(fault, pages.words) for fault in faults],
        longest={
            "name": declarations.LONGEST_NAME,
            "contract": declarations.LONGEST_CONTRACT,
            "address": declarations.LONGEST_ADDRESS,
            "reason": declarations.LONGEST_REASON,
        },
    )


def _told(fault: Fault, words: Words) -> tuple[str, str]:
    """Return the field at fault, if known, and what is wrong, after the label of the field."""
    wrong = words.say(f"forms.fault_{fault}")
    if fault not in _FIELDS:
        return "", wrong
    field, label = _FIELDS[fault]
    return field, words.say("mails.line", label=words.say(label), value=wrong)


def declared_page(record: Recorded, pages: Pages, moment: Moment) -> PageAnswer:
    """Show what was declared, to be saved: the text's link holds the whole text."""
    kind, words = record.declaration.kind, pages.words
    facts = [*_facts(record, words, moment), *_content(record.declaration, words)]
    lines = [words.say(f"forms.declared_{kind}"), pages.seller, ""]
    lines += [words.say("mails.line", label=label, value=value) for label, value in facts]
    saved = quote(words.plain("\r\n".join(lines)) + "\r\n", safe="", errors="replace")
    return pages.page(
        "declared.html",
        HTTPStatus.OK,
        title=f"forms.declared_{kind}",
        text=f"forms.next_{kind}",
        facts=facts,
        file=f"{record.number}.txt",
        saved=f"data:text/plain;charset=utf-8,{saved}",
    )


def _facts(record: Recorded, words: Words, moment: Moment) -> list[tuple[str, str]]:
    at = record.declared_at.astimezone(moment.zone)
    offset = f"UTC{at:%:z}".removesuffix(":00")
    received = words.say("notices.moment", day=words.day(at.date()), time=f"{at:%H:%M:%S}", offset=offset)
    return [(words.say("forms.number"), marks.isolated(record.number)), (words.say("forms.received"), received)]


def _content(declaration: Declaration, words: Words) -> list[tuple[str, str]]:
    """Return what was declared. Typed words have a direction of their own, whatever the direction of the page."""
    facts = [
        ("forms.name", marks.isolated(declaration.name)),
        ("forms.contract", marks.isolated(declaration.contract)),
        ("forms.address", marks.isolated(declaration.address)),
    ]
    if declaration.way is not None:
        facts.append(("forms.way", words.say(f"forms.way_{declaration.way}")))
        if declaration.way is Way.EXTRAORDINARY:
            facts.append(("forms.reason", marks.isolated(declaration.reason)))
        facts.append(
            ("forms.wished", words.day(declaration.wished) if declaration.wished else words.say("forms.earliest"))
        )
    return [(words.say(label), value) for label, value in facts]


@cache
def _table() -> Declarations:
    return Declarations(aws.dynamodb(), setting("DECLARATIONS_TABLE"))
