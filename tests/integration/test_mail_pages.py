"""Mails as people see them on a phone and on a desktop, in a real headless browser."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from email.message import EmailMessage
from html import escape
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome

from renewals.domain import refund_notices
from renewals.domain.payment import GatewayCard
from renewals.domain.renewal import MailKind
from renewals.domain.subscription import parse
from renewals.language.tags import LANGUAGES
from scripts import mails_page
from send_email.letter import Brand
from send_email.message import Attachment, compose, remind
from tests.browser import NEEDS_CHROMIUM, chromium, resize
from tests.fakes import DUE, NOON, SENDER, World

SETTINGS = {"POWERTOOLS_METRICS_NAMESPACE": "test", "POWERTOOLS_SERVICE_NAME": "test"}
with pytest.MonkeyPatch.context() as patch:
    for setting in SETTINGS.items():
        patch.setenv(*setting)
    from tests.unit.test_message import HARD, LAST, REFUSED, SOFT, WAITS  # the module renews when it is imported

pytestmark = NEEDS_CHROMIUM
TO = "ann@customer.example"
PAGE = "https://shop.example/me?link=" + "x" * 120
LONGEST = ("receipt", "payment_failed_for_good", "card_expires", "refunded")
BRAND = Brand(colour="#1d4ed8", support="mailto:help@shop.example")
LONG = "W" * 200
ORDINARY = {
    "customer_name": "Maximiliane-Alexandra von der Wiesenthal-Hohenstein",
    "plan": "Pro, for teams of up to twenty-five people, monthly",
    "payment_id": "pi_3QxJ2kLkdIwHu7ix0a1B2c3D",
}
HOSTILE = {"customer_name": LONG, "plan": LONG, "payment_id": LONG, "receipt_number": LONG, "subscription_id": LONG} | {
    "seller": {"name": LONG, "address": "", "tax_id": ""},
}


def _refund(kind: str, changed: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a renewal whose customer is to be told of a partial refund."""
    refund = {"amount": Decimal("10.00"), "state": "refunded", "at": NOON.isoformat(), "by": "ann", "request": "hash"}
    name = str(changed["payment_id"]).replace("pi_", "re_")
    return {"notice": f"{kind}_1", "refunds": {"refund_1": refund | {"refund_id": name}}}


def _mails(shop: World, changed: dict[str, Any]) -> Iterator[tuple[str, EmailMessage]]:
    """Yield a mail of every kind. changed: the renewal's changed attributes."""
    shop.subscribe()
    shop.run()
    renewal = shop.ledger.get("sub_1", DUE.isoformat())
    assert renewal is not None
    link = Attachment("receipt.pdf", b"%PDF", "https://api.example/prod/receipts/" + "x" * 120)
    kinds: list[tuple[str, str, Any, dict[str, Any]]] = [
        ("receipt", "receipt", None, {}),
        *((kind, kind, None, _refund(kind, changed)) for kind in refund_notices.NOTICES),
        ("payment_failed", "payment_failed", SOFT, REFUSED),
        ("hard", "payment_failed", HARD, REFUSED),
        ("action_required", "action_required", HARD, WAITS),
        ("final_notice", "final_notice", LAST, REFUSED),
        ("canceled", "canceled", None, REFUSED),
        ("unpaid", "unpaid", None, REFUSED),
    ]
    for name, kind, prospects, stands in kinds:
        of = replace(renewal, **stands, **changed)
        attached = link if kind == "receipt" else None
        mail = compose(
            MailKind(kind), of, sender=SENDER, to=TO, prospects=prospects, attachment=attached, page=PAGE, brand=BRAND
        )
        yield name, mail
    row = parse(shop.row() | {key: changed[key][:120] for key in ("customer_name", "plan")})
    card = GatewayCard("pm_ok", "Visa ending in 4242", "2026-01")
    cards = {"upcoming": None, "card_expires": card, "card_detached": replace(card, is_detached=True)}
    for name, expiring in cards.items():
        yield name, remind(row, expiring, seller="Example Shop", page=PAGE, sender=SENDER, to=TO)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with chromium(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.mark.parametrize("changed", [ORDINARY, HOSTILE], ids=["ordinary", "hostile"])
def test_every_mail_fits_a_phone_and_a_desktop(
    browser: Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    """No mail is wider than its window, nothing sticks out of its box, and a phone does not shrink the letters."""
    for setting in SETTINGS.items():
        monkeypatch.setenv(*setting)
    wide = {}
    for name, mail in _mails(World(), changed):
        page = mail.get_body(("html",))
        assert page is not None
        file = tmp_path / f"{name}.html"
        file.write_text(page.get_content(), encoding="utf-8")
        for width in (390, 1280):
            resize(browser, width)
            browser.get(file.as_uri())
            across, needed, beyond = browser.execute_script(_MEASURED)
            if across != width or needed > width or beyond:
                wide[name, width] = across, needed, beyond
    assert wide == {}


@pytest.mark.parametrize("width", [320, 390])
def test_every_mail_fits_a_phone_in_every_language(browser: Chrome, tmp_path: Path, width: int) -> None:
    """In each language, no long mail is wider than a narrow and an ordinary phone, nothing sticks out of its box,
    the button is 44 pixels high or more, and no amount is broken over two lines."""
    mails = [(tag, each) for tag in LANGUAGES for each in mails_page.spoken(tag) if each.name in LONGEST]
    frame = f'<iframe width="{width}" height="2400" srcdoc="'
    frames = "".join(f'{frame}{escape(str(each.shown))}"></iframe>' for _, each in mails)
    page = tmp_path / "all.html"
    page.write_text(f'<!doctype html><meta charset="utf-8"><style>iframe{{border:0}}</style>{frames}', encoding="utf-8")
    browser.get(page.as_uri())
    seen = browser.execute_script(_SEEN)
    names = [(tag, each.name) for tag, each in mails]
    assert len(seen) == len(LANGUAGES) * len(LONGEST)
    assert {name: each for name, each in zip(names, seen, strict=True) if each != [width, False, [], True, True]} == {}


_SEEN = """
return Array.from(document.querySelectorAll("iframe")).map(frame => {
  const page = frame.contentDocument, box = page.querySelector(".box").getBoundingClientRect();
  const all = Array.from(page.querySelectorAll(".box *"));
  const beyond = all.filter(each => { const at = each.getBoundingClientRect();
    return at.right > box.right + 0.5 || at.left < box.left - 0.5; }).map(each => each.outerHTML.slice(0, 80));
  const whole = Array.from(page.querySelectorAll("bdi[dir]")).every(each => each.getClientRects().length === 1);
  const high = Array.from(page.querySelectorAll(".button a")).every(each => each.getBoundingClientRect().height >= 44);
  return [page.documentElement.clientWidth, page.documentElement.scrollWidth > page.documentElement.clientWidth, beyond,
    whole, high];
});
"""
_MEASURED = """
const box = document.querySelector(".box").getBoundingClientRect();
const all = Array.from(document.querySelectorAll(".box *"));
const beyond = all.filter(each => each.getBoundingClientRect().right > box.right);
return [window.innerWidth, document.documentElement.scrollWidth, beyond.map(each => each.tagName)];
"""
