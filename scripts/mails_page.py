"""Write docs/mails.md, with a picture of each mail and receipt: `.venv/bin/python -m scripts.mails_page`.

The functions' own code composes the mails and draws the receipts. Chromium takes the pictures of the mails, as wide as
a phone. A picture keeps a digest of the mail or receipt, so that a test notices a picture of earlier words or layout.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from email.message import EmailMessage
from functools import partial
from hashlib import sha256
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pypdfium2
from PIL import Image, ImageChops
from PIL.PngImagePlugin import PngInfo

from renewals.domain.changes import Change, ChangeKind
from renewals.domain.confirmations import Confirmation
from renewals.domain.known import Terms, known, terms_of
from renewals.domain.payment import GatewayCard
from renewals.domain.preview import NextCharge
from renewals.domain.renewal import MailKind, Renewal, Status
from renewals.domain.stored import RefundRecord
from renewals.domain.subscription import Subscription, SubscriptionStatus, parse
from scripts.ledger_page import sample, sample_row
from send_email.confirmation_mail import Ahead, MailSeller, confirmation_mail
from send_email.message import Attachment, Prospects, compose, remind

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "layers/receipt"))  # the fonts

from generate_receipt.app import receipt_of, refund_receipt_of  # noqa: E402
from generate_receipt.pdf import Receipt, render  # noqa: E402

PAGE, PICTURES = ROOT / "docs/mails.md", ROOT / "docs/mails"
_CUSTOMER_PAGE = "https://example.com/account"
_LINK = "https://example.com/receipts/AbC123"
_FROM, _TO, _SELLER = "billing@example.com", "ann@customer.example", "Example Ltd"
_RETRY, _END = date(2026, 2, 3), date(2026, 2, 7)
_WIDTH, _TALLEST, _SCALE, _COLOURS, _EDGE = 390, 1400, 2, 24, 8
_BROWSER_SECONDS = 60
_DECLARED = "20260105-093000-4F7A2C91"
"""The number of a declaration, after its first letter."""
_OTHER_LANGUAGES = (
    *(("de", "payment_failed"), ("fr", "receipt"), ("ar", "payment_failed")),
    *(("ja", "receipt_pdf"), ("ar", "receipt_pdf")),
)
_LANGUAGE_NAMES = {"de": "in German", "fr": "in French", "ja": "in Japanese", "ar": "in Arabic"}
_ABOUT = """# Mails and receipts

Customers get these mails and receipts. `python -m scripts.mails_page` makes this page and its pictures, which are as
wide as a phone. The texts stand in [catalogues](../src/renewals/language/catalogues), in eleven languages
([languages.md](languages.md)), and the layout of the mails in [layout](../src/send_email/layout). Mails link to the
[customer page](account.md), or to a page of your own. The console of the local stack has a
[gallery](local.md#the-gallery) of all mails in all languages.
"""


@dataclass(frozen=True, slots=True)
class Example:
    """A mail or a receipt of the page.

    name: the name of the picture. when: when a customer gets the mail. shown: the HTML of a mail, or the PDF of a
    receipt. words: all words, as plain text. folder: the folder of the picture.
    """

    name: str
    title: str
    when: str
    shown: str | bytes
    words: str
    folder: Path = PICTURES

    @property
    def picture(self) -> Path:
        """The file of the picture."""
        return self.folder / f"{self.name}.png"

    @property
    def digest(self) -> str:
        """What the picture keeps. The bytes of a PDF may change with the library alone: its words count."""
        return sha256((self.shown if isinstance(self.shown, str) else self.words).encode()).hexdigest()


def examples() -> Iterator[Example]:
    """Yield the examples of the page: all in English, and some in other languages."""
    yield from spoken("en")
    for locale, name in _OTHER_LANGUAGES:
        example = next(each for each in spoken(locale) if each.name == name)
        title = f"{example.title}, {_LANGUAGE_NAMES[locale]}"
        yield replace(example, name=f"{name}_{locale}", title=title, when=f"With `locale` {locale}.")


def spoken(locale: str) -> Iterator[Example]:
    """Yield the mails, then the receipts, in the language of the locale."""
    paid, refunded = _paid(locale), _refunded("refunded", locale)
    soft = Prospects(_RETRY, _END, SubscriptionStatus.CANCELED)
    last = replace(soft, retry_on=_END)
    hard = replace(soft, retry_on=None)
    declined = replace(paid, status=Status.DECLINED, paid_at=None, card=None, decline_code="insufficient_funds")
    expired = replace(declined, decline_code="expired_card")
    waits = replace(declined, status=Status.ACTION_REQUIRED)
    yield _mail("receipt", "Receipt", "After each payment, with the receipt as a PDF.", paid)
    yield _reminder(
        "upcoming",
        "Reminder of a renewal",
        "Three weeks before the renewal of a plan longer than a month.",
        None,
        locale,
    )
    card = GatewayCard("pm_1", "Visa ending in 4242", "2025-12")
    yield _reminder(
        "card_expires", "Reminder of a card", "Some days before a renewal that the card does not reach.", card, locale
    )
    detached = replace(card, is_detached=True)
    when = "Some days before a renewal, when the card was detached at the gateway."
    yield _reminder("card_detached", "Reminder of a detached card", when, detached, locale)
    soft_decline = "When a payment was declined, and the same card will be tried again."
    yield _mail("payment_failed", "Payment failed", soft_decline, declined, soft)
    hard_decline = "When a payment was declined, and only another payment method can help."
    yield _mail("payment_failed", "Payment failed for good", hard_decline, expired, hard, "payment_failed_for_good")
    yield _mail("action_required", "Confirmation needed", "When the bank wants the customer to confirm.", waits, hard)
    yield _mail("final_notice", "Final notice", "Before the last attempt.", declined, last)
    yield _mail("canceled", "Canceled", "When the last attempt has failed, with `DunningEndsAs=canceled`.", declined)
    yield _mail("unpaid", "Suspended", "When the last attempt has failed, with `DunningEndsAs=unpaid`.", declined)
    yield _mail(
        "refund_pending",
        "Refund on its way",
        "When the gateway is still processing the refund.",
        _refunded("refund_pending", locale),
    )
    yield _mail(
        "refunded", "Refunded", "When the gateway has made a refund, with the receipt of the refund as a PDF.", refunded
    )
    yield _mail(
        "refund_failed",
        "Refund failed",
        "When a refund did not reach the customer.",
        _refunded("refund_failed", locale),
    )
    yield from _confirmations(locale)
    payment, refund = receipts(locale)
    yield _receipt("receipt_pdf", "The receipt of a payment", payment)
    yield _receipt("refund_pdf", "The receipt of a refund", refund)


def _confirmations(locale: str) -> Iterator[Example]:
    row = sample_row() | {"locale": locale}
    before, at = terms_of(row | {"amount": Decimal("24.99")}), datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
    ends = parse(row | {"cancel_at": "2026-02-28"})
    charge = NextCharge(date(2026, 1, 31), date(2026, 1, 31), date(2026, 2, 28), Decimal("29.99"), "USD", "")
    over = Ahead((), is_open=False, today=at.date(), zone=UTC)
    goes_on = replace(over, charges=(charge,))
    of = partial(_confirmation, at)
    when = "When a subscription was created, if `Confirmations` names `sign_up`."
    yield of(MailKind.SIGN_UP, "Sign-up", when, Told(ChangeKind.CREATED, parse(row), goes_on))
    when = "When a subscription was canceled, here at the end of its paid period."
    yield of(MailKind.CANCELLATION, "Cancellation", when, Told(ChangeKind.ENDING, ends, over))
    when = "When a paused or ending subscription goes on."
    yield of(MailKind.RESUMPTION, "Resumption", when, Told(ChangeKind.RESUMED, parse(row), goes_on))
    when = "When the price, the plan or the interval has changed."
    yield of(MailKind.CHANGED_TERMS, "Changed terms", when, Told(ChangeKind.EDITED, parse(row), goes_on, before))
    when = "When the payment method was updated, on the customer page or through the API."
    yield of(MailKind.NEW_CARD, "New payment method", when, Told(ChangeKind.CARD, parse(row), goes_on))
    when = "When a chargeback has ended the subscription, with `DisputedSubscriptions=cancel`."
    yield of(MailKind.ENDED_BY_DISPUTE, "Ended by a chargeback", when, Told(ChangeKind.ENDING, ends, over))
    when = "When a customer asks for a link to the customer page."
    yield of(MailKind.ACCOUNT_LINK, "Link to the customer page", when, Told(ChangeKind.LINK_ASKED, parse(row), goes_on))
    when = "When a cancellation by the public form fits a subscription, and waits for a person."
    declared = Told(ChangeKind.CANCELLATION_DECLARED, parse(row), goes_on, key=f"cause/C{_DECLARED}")
    yield of(MailKind.CANCELLATION_DECLARED, "Receipt of a cancellation", when, declared)
    when = "When a withdrawal by the public form fits a subscription."
    declared = Told(ChangeKind.WITHDRAWAL_DECLARED, parse(row), goes_on, key=f"cause/W{_DECLARED}")
    yield of(MailKind.WITHDRAWAL_DECLARED, "Receipt of a withdrawal", when, declared)


class Told(NamedTuple):
    """A change that a mail confirms. key: the key of the change's record."""

    what: ChangeKind
    subscription: Subscription
    ahead: Ahead
    before: Terms | None = None
    key: str = ""


def _confirmation(at: datetime, kind: MailKind, title: str, when: str, told: Told) -> Example:
    change = Change(at, "customer", told.what, {}, told.key)
    confirmation = Confirmation(kind, change, known(told.subscription.row), told.before)
    seller = MailSeller(_SELLER, _CUSTOMER_PAGE)
    return _example(kind, title, when, confirmation_mail(confirmation, told.ahead, seller=seller, sender=_FROM, to=_TO))


def receipts(locale: str) -> tuple[Receipt, Receipt]:
    """Return the receipts of a payment and of a refund, in the language of the locale."""
    return receipt_of(_paid(locale)), refund_receipt_of(_refunded("refunded", locale), "refund_1")


def page(found: Iterable[Example]) -> str:
    """Return the text of the page."""
    lines = [_ABOUT]
    for each in found:
        place = each.picture.relative_to(PAGE.parent)
        lines += [f"## {each.title}\n", f"{each.when}\n", f'<img src="{place}" width="{_WIDTH}" alt="{each.title}">\n']
        lines += ["<details><summary>The words</summary>\n", f"```text\n{each.words.strip()}\n```\n", "</details>\n"]
    return "\n".join(lines).rstrip() + "\n"


def digest_of(picture: Path) -> str:
    """Return the digest that a picture keeps."""
    with Image.open(picture) as opened:
        return str(opened.info.get("digest", ""))


def take(example: Example, folder: Path) -> None:
    """Take the picture of an example. folder: a folder for the files of the browser."""
    image = _of_mail(example.shown, folder) if isinstance(example.shown, str) else _of_pdf(example.shown)
    kept = PngInfo()
    kept.add_text("digest", example.digest)
    few = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    few.save(example.picture, optimize=True, pnginfo=kept)


def _paid(locale: str) -> Renewal:
    seller = {"name": _SELLER, "address": "1 Example Street, 12345 Example City", "tax_id": "DE123456789"}
    return replace(
        sample(),
        locale=locale,
        status=Status.DONE,
        seller=seller,
        payment_id="pi_3QxJ2kLkdIwHu7ix0a1B2c3D",
        paid_at=datetime(2026, 1, 31, 12, tzinfo=UTC),
        card="Visa ending in 4242",
        receipt_number="20260131-RMP6-B7AQ-NAX3",
    )


def _refunded(kind: str, locale: str) -> Renewal:
    """Return a renewal whose customer must be told of a partial refund."""
    refund: RefundRecord = {
        "amount": Decimal("10.00"),
        "state": "failed" if kind == "refund_failed" else "refunded",
        "at": "2026-02-05T09:30:00+00:00",
        "by": "support",
        "request": "",
        "refund_id": "re_3QxJ2kLkdIwHu7ix0e5F6g7H",
    }
    return replace(_paid(locale), refunds={"refund_1": refund}, notice=f"{kind}_1")


def _mail(
    kind: str, title: str, when: str, renewal: Renewal, prospects: Prospects | None = None, name: str | None = None
) -> Example:
    receipts = {"receipt": renewal.receipt_number, "refunded": f"{renewal.receipt_number}-R1"}
    attached = Attachment(f"{kind}-{receipts[kind]}.pdf", b"%PDF", _LINK) if kind in receipts else None
    mail = compose(
        MailKind(kind), renewal, sender=_FROM, to=_TO, prospects=prospects, attachment=attached, page=_CUSTOMER_PAGE
    )
    return _example(name or kind, title, when, mail)


def _reminder(name: str, title: str, when: str, card: GatewayCard | None, locale: str) -> Example:
    yearly = {"interval": "year", "amount": Decimal("299.00")} if card is None else {}
    mail = remind(
        parse(sample_row() | yearly | {"locale": locale}),
        card,
        seller=_SELLER,
        page=_CUSTOMER_PAGE,
        sender=_FROM,
        to=_TO,
        decline=f"{_CUSTOMER_PAGE}/reminders/AbC123" if card is not None else "",
    )
    return _example(name, title, when, mail)


def _example(name: str, title: str, when: str, mail: EmailMessage) -> Example:
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    if plain is None or html is None:
        raise ValueError(f"the mail {name} has no text")
    words = str(plain.get_content()).replace("\r\n", "\n")  # a text beyond ASCII keeps the line ends of mails
    return Example(name, title, when, html.get_content(), f"Subject: {mail['Subject']}\n\n{words}")


def _receipt(name: str, title: str, receipt: Receipt) -> Example:
    pdf = render(receipt).pdf
    with pypdfium2.PdfDocument(pdf) as document:
        words = document[0].get_textpage().get_text_range().replace("\r\n", "\n")
    return Example(name, title, "A PDF of one A4 page.", pdf, words)


def _of_mail(html: str, folder: Path) -> Image.Image:
    """Return a picture of the mail, without the empty space below. A frame is as narrow as a phone; a window is not."""
    outside, picture = folder / "page.html", folder / "picture.png"
    frame = f'<iframe srcdoc="{escape(html)}" width="{_WIDTH}" height="{_TALLEST}" style="border:0"></iframe>'
    outside.write_text(f'<!doctype html><meta charset="utf-8"><body style="margin:0">{frame}', encoding="utf-8")
    browser = shutil.which("chromium")
    if browser is None:
        raise FileNotFoundError("chromium is not on PATH (apt-get install chromium)")
    options = ["--headless=new", "--hide-scrollbars", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'home'}"]
    options += ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own sandbox does not run as root
    size = [f"--window-size=800,{_TALLEST + 200}", f"--force-device-scale-factor={_SCALE}"]
    command = [browser, *options, *size, f"--screenshot={picture}", outside.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=_BROWSER_SECONDS)
    with Image.open(picture) as taken:
        image = taken.convert("RGB").crop((0, 0, _WIDTH * _SCALE, _TALLEST * _SCALE))
    empty = Image.new("RGB", image.size, image.getpixel((0, image.height - 1)))
    box = ImageChops.difference(image, empty).getbbox()
    return image.crop((0, 0, image.width, (box[3] if box else 0) + _EDGE * _SCALE))


def _of_pdf(pdf: bytes) -> Image.Image:
    with pypdfium2.PdfDocument(pdf) as document:
        side = document[0]
        image: Image.Image = side.render(scale=_WIDTH * _SCALE / side.get_width()).to_pil()
        return image


def take_all(found: Sequence[Example], pictures: Path) -> None:
    """Take the pictures whose mail, receipt or page has changed, and remove all other pictures from the folder."""
    pictures.mkdir(exist_ok=True)
    for picture in set(pictures.glob("*.png")) - {each.picture for each in found}:
        picture.unlink()
    with TemporaryDirectory() as folder:
        for each in found:
            if not each.picture.exists() or digest_of(each.picture) != each.digest:
                take(each, Path(folder))


def main() -> None:
    """Write the page, and take the pictures whose mail or receipt has changed."""
    found = list(examples())
    take_all(found, PICTURES)
    PAGE.write_text(page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
