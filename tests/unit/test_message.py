"""Mails say only what is true, in plain text and HTML, and go to one address."""

import re
from base64 import b64encode
from dataclasses import replace
from datetime import date
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from email.utils import getaddresses
from html import unescape
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from renewals.domain.addresses import BadAddress, deliverable
from renewals.domain.printable import line
from renewals.domain.renewal import MailKind, Status
from renewals.domain.subscription import SubscriptionStatus
from renewals.language.catalogues import catalogue
from scripts.plainly import number
from send_email.letter import PLAIN, Brand
from send_email.message import Prospects, compose
from tests.fakes import DUE, SENDER, World

PAGE = "https://shop.example/me?tab=cards&lang=en"
SOFT = Prospects(date(2026, 2, 3), date(2026, 2, 7), SubscriptionStatus.CANCELED)
LAST = Prospects(date(2026, 2, 7), date(2026, 2, 7), SubscriptionStatus.UNPAID)
HARD = Prospects(None, date(2026, 2, 7), SubscriptionStatus.CANCELED)
REFUSED: dict[str, Any] = {
    "status": Status.DECLINED,
    "paid_at": None,
    "card": None,
    "decline_code": "insufficient_funds",
}
WAITS = REFUSED | {"status": Status.ACTION_REQUIRED, "decline_code": "authentication_required"}
PERIOD = "$29.99 for Pro (31 January 2026 to 27 February 2026)"

_SHOP = World()
_SHOP.subscribe()
_SHOP.run()
_RENEWAL = _SHOP.ledger.get("sub_1", DUE.isoformat())


def _compose(
    kind: str, prospects: Prospects | None = None, *, page: str = "", brand: Brand = PLAIN, **changed: Any
) -> EmailMessage:
    """Compose a mail about a paid renewal of January with the attributes of `changed`, and parse the mail as its
    recipient does."""
    assert _RENEWAL is not None
    of, to = replace(_RENEWAL, **changed), "ann@customer.example"
    mail = compose(MailKind(kind), of, sender=SENDER, to=to, prospects=prospects, page=page, brand=brand)
    return BytesParser(EmailMessage, policy=default).parsebytes(mail.as_bytes())


def _refused(**changed: Any) -> dict[str, Any]:
    return {**REFUSED, **changed}


def _text(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def _shown(mail: EmailMessage) -> str:
    """Return the HTML with its texts as they are read: without the elements around amounts."""
    return unescape(re.sub("</?bdi[^>]*>", "", _text(mail, "html")))


REFUSALS = [
    ("payment_failed", SOFT, REFUSED, "Your payment for Pro did not go through",
     "We will try the same card again on 3 February 2026. If you update your payment method, we will try the new card "
     "at once instead. If the payment has not gone through by 7 February 2026, your subscription will be canceled."),
    ("payment_failed", replace(SOFT, ends_as=SubscriptionStatus.UNPAID), REFUSED,
     "Your payment for Pro did not go through",
     "We will try the same card again on 3 February 2026. If you update your payment method, we will try the new card "
     "at once instead. If the payment has not gone through by 7 February 2026, your subscription will be suspended."),
    ("payment_failed", HARD, REFUSED, "Your payment for Pro did not go through",
     "We will not try this card again. Please update your payment method before 7 February 2026: we will then try the "
     "payment with the new card at once. Otherwise, your subscription will be canceled on that day."),
    ("payment_failed", None, REFUSED, "Your payment for Pro did not go through",
     "We will not try this card again. Please update your payment method: we will then try the payment with the new "
     "card."),
    ("action_required", HARD, WAITS, "Please confirm your payment for Pro",
     "Please confirm the payment before 7 February 2026, or update your payment method to a card that needs no "
     "confirmation. Otherwise, your subscription will be canceled on that day. If you update your payment method, we "
     "will try the new card at once instead."),
    ("action_required", None, WAITS, "Please confirm your payment for Pro",
     "Please confirm the payment, or update your payment method to a card that needs no confirmation."),
    ("final_notice", LAST, REFUSED, "Final notice: your payment for Pro is past due",
     "We will try the same card one last time on 7 February 2026. If that payment fails too, your subscription will be "
     "suspended. If you update your payment method, we will try the new card at once instead."),
    ("final_notice", replace(HARD, ends_as=SubscriptionStatus.UNPAID), REFUSED,
     "Final notice: your payment for Pro is past due",
     "We will not try this card again. Please update your payment method before 7 February 2026: we will then try the "
     "payment with the new card at once. Otherwise, your subscription will be suspended on that day."),
    ("final_notice", HARD, WAITS, "Final notice: your payment for Pro is past due",
     "Please confirm the payment before 7 February 2026, or update your payment method to a card that needs no "
     "confirmation. Otherwise, your subscription will be canceled on that day. If you update your payment method, we "
     "will try the new card at once instead."),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "prospects", "stands", "subject", "then"), REFUSALS)
def test_a_refusal_says_what_was_tried_why_and_what_happens_next(
    kind: str, prospects: Prospects | None, stands: dict[str, Any], subject: str, then: str
) -> None:
    """A mail about a soft decline, a hard decline or 3-D Secure says the same in text and HTML: what was tried, why the
    payment failed, and what comes next on which date."""
    mail = _compose(kind, prospects, **stands)
    asked = "your bank asks you to confirm the payment yourself (3-D Secure)"
    why = asked if stands is WAITS else "the card has insufficient funds"
    assert mail["Subject"] == subject
    for said in (_text(mail), _shown(mail)):
        assert f"We tried to charge {PERIOD}, but {why}. You have not been charged." in said
        assert f"Your subscription is past due. {then}" in said


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("expired_card", "the card has expired"),
        ("resource_missing", "the card is no longer on file"),
        ("payment_intent_authentication_failure", "the confirmation with your bank did not succeed"),
        *((code, "the card was declined") for code in ("lost_card", "stolen_card", "fraudulent", "new_in_2030", None)),
    ],
)
def test_the_reason_is_told_as_far_as_it_may_be(code: str | None, why: str) -> None:
    """A lost or stolen card, fraud and unknown codes are told as a plain decline, and no mail names the decline
    code."""
    text = _text(_compose("payment_failed", HARD, **_refused(decline_code=code)))
    assert f"but {why}. You have not been charged." in text
    assert code is None or code not in text


def test_the_title_of_a_mail_is_its_subject_without_elements() -> None:
    """The title of the HTML, which a browser shows as it stands, is the subject without elements around the amount."""
    mail = _compose("receipt")
    assert f"<title>{mail['Subject']}</title>" in _text(mail, "html")
    assert mail["Subject"] == "Receipt for Pro: $29.99"


def test_each_kind_of_mail_has_a_subject() -> None:
    """Every kind of mail has a subject, in the catalogue of the mails or in the catalogue of the notices."""
    keys = [key for area in ("mails", "notices") for key in catalogue(area, "en")]
    assert {key.removeprefix("subject_") for key in keys if key.startswith("subject_")} == set(MailKind)


@pytest.mark.parametrize(("kind", "ended"), [("canceled", "canceled"), ("unpaid", "suspended")])
def test_the_end_says_what_was_not_paid_and_promises_no_further_try(kind: str, ended: str) -> None:
    """The mail about the end says how the subscription ended and that nothing was or will be charged, without a link or
    a next date."""
    mail = _compose(kind, LAST, **_refused(status=Status.FAILED))
    assert mail["Subject"] == f"Your subscription to Pro is {ended}"
    for said in (_text(mail), _shown(mail)):
        assert f"Your payment of {PERIOD} did not go through. Your subscription is now {ended}." in said
        assert "You have not been charged for this period. We have canceled the payment" in said
        assert not any(word in said for word in ("February 2026:", "try", "https://", "Receipt number"))


@pytest.mark.parametrize(
    ("kind", "stands", "label"),
    [
        ("payment_failed", REFUSED, "Update your payment method"),
        ("final_notice", REFUSED, "Update your payment method"),
        ("action_required", WAITS, "Confirm the payment"),
        ("final_notice", WAITS, "Confirm the payment"),
    ],
)
def test_the_customer_page_is_linked_where_there_is_one(kind: str, stands: dict[str, Any], label: str) -> None:
    """The link to the customer page stands plain in the text and escaped in the HTML; without a configured page mails
    have no link and no gap."""
    mail = _compose(kind, HARD, page=PAGE, **stands)
    assert f"{label}: {PAGE}" in _text(mail).splitlines()
    assert re.search(rf'<a href="https://shop.example/me\?tab=cards&amp;lang=en"[^>]*>{label}</a>', _text(mail, "html"))
    without = _compose(kind, HARD, **stands)
    assert label not in _text(without)
    assert "<a " not in _text(without, "html")


def test_a_link_cannot_leave_its_attribute() -> None:
    """No configured address of the customer page, of help or of a logo can break out of its HTML attribute."""
    bad = 'https://x.example/"><script>alert(1)</script>'
    mail = _compose("payment_failed", HARD, page=bad, brand=Brand(logo=bad, support=bad), **REFUSED)
    assert _text(mail, "html").count("&lt;script&gt;") == 4
    assert "<script>" not in _text(mail, "html")


CANCEL = f"You can cancel your subscription at any time on your account page.\nGo to your account page: {PAGE}"


@pytest.mark.parametrize(
    ("kind", "prospects", "stands", "links"),
    [
        ("receipt", None, {}, 1),
        ("payment_failed", SOFT, REFUSED, 2),
        ("action_required", HARD, WAITS, 2),
        ("final_notice", LAST, REFUSED, 2),
        ("canceled", None, REFUSED, 0),
        ("unpaid", None, REFUSED, 2),
    ],
)
def test_a_mail_says_how_to_cancel(kind: str, prospects: Prospects | None, stands: dict[str, Any], links: int) -> None:
    """Receipts and mails about failed payments or a suspension say how to cancel, with the link, in text and HTML; a
    mail about the end does not. A receipt asks for nothing else."""
    mail = _compose(kind, prospects, page=PAGE, **stands)
    assert (CANCEL in "\n".join(_text(mail).splitlines())) == bool(links)
    assert [_text(mail).count(PAGE), _text(mail, "html").count("<a ")] == [links, links]
    assert "You can cancel" not in _text(_compose(kind, prospects, **stands))


def test_a_mail_about_a_suspension_names_the_next_step() -> None:
    """The mail about a suspension has a button that leads to the page, on which the customer resumes; without a page
    the mail asks the customer to write to the seller."""
    mail = _compose("unpaid", page=PAGE, **REFUSED)
    assert "please update your payment method and resume your subscription on your account page." in _text(mail)
    assert f"Resume your subscription: {PAGE}" in _text(mail)
    assert "To continue, please contact us." in _text(_compose("unpaid", **REFUSED))


def test_a_mail_carries_the_brand() -> None:
    """A mail shows the seller's colour and logo, answers go to the seller's own address, and the end of the mail links
    to help. A logo without https is left out, and so is a colour that is no colour."""
    brand = Brand("#FFD400", "https://shop.example/logo.png?a=1&b=2", "help@shop.example", "mailto:help@shop.example")
    mail = _compose("receipt", brand=brand)
    html = _text(mail, "html")
    assert mail["Reply-To"].addresses[0].addr_spec == "help@shop.example"
    assert 'src="https://shop.example/logo.png?a=1&amp;b=2" alt="Example Shop"' in html
    assert "border-top:4px solid #ffd400" in html
    help_lines = ["Do you have a question? We are happy to help.", "Contact us: mailto:help@shop.example"]
    assert _text(mail).splitlines()[-4:-2] == help_lines
    plain = _compose("receipt", brand=Brand("red", "http://shop.example/logo.png"))
    assert "border-top:4px solid #0c7a55" in _text(plain, "html")
    assert "<img" not in _text(plain, "html")
    assert plain["Reply-To"] is None


@given(st.from_regex("#[0-9a-fA-F]{6}", fullmatch=True))
def test_the_text_on_every_colour_can_be_read(colour: str) -> None:
    """The text of a button has a contrast of 4.5 to the button at the least, whatever colour a team chooses."""

    def luminance(digits: str) -> float:
        parts = [int(digits[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    brand = Brand(colour)
    assert brand.ground == colour.lower()
    dark, light = sorted((luminance(brand.ground), luminance(brand.ink)))
    assert (light + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize("colour", ["", "red", "#fff", "#12345g", "0c7a55", "#0c7a55;", "#１２３４５６"])
def test_a_colour_that_is_none_is_green(colour: str) -> None:
    """A text that is no colour gives the green of the receipts, with white on the green."""
    assert (Brand(colour).ground, Brand(colour).ink) == ("#0c7a55", "#ffffff")


def _addresses(mail: EmailMessage) -> tuple[list[str], list[str]]:
    to, sender = ([str(address.addr_spec) for address in mail[header].addresses] for header in ("To", "From"))
    return to, sender


@pytest.mark.parametrize("name", ["Ann\r\nBcc: all@victim.example", "a\x00b\u2028c", "", "🙂" * 300])
def test_a_name_cannot_forge_a_header_or_break_a_mail(name: str) -> None:
    """A name of a customer or a plan stays within its line and adds no header, whatever its characters."""
    mail = _compose("receipt", customer_name=name, plan=name)
    assert mail["Bcc"] is None
    assert _addresses(mail) == (["ann@customer.example"], [SENDER])


# Texts that, hidden in an encoded word, would become an address or a header on arrival.
_HIDDEN = st.sampled_from(
    ["Lee, eve@evil.example", "a\r\nBcc: eve@evil.example", '"Lee" <eve@evil.example>,', "\u202e"]
)
_WORDS = st.builds(
    lambda text, charset, base64: (
        f"=?{charset}?b?{b64encode(text.encode()).decode()}?="
        if base64
        else f"=?{charset}?q?{''.join(f'={byte:02X}' for byte in text.encode())}?="
    ),
    _HIDDEN,
    st.sampled_from(["utf-8", "UTF-8*en", "us-ascii"]),
    st.booleans(),
)
_PIECES = st.text(st.sampled_from('"\\<>()[]:;@,.=?_ ab\té山🙂\u202e\u0301\r\n\u200d\u0915'), max_size=40)
NAMES = (
    st.lists(_WORDS | _PIECES, max_size=6).map("".join) | st.text(max_size=160) | st.text(min_size=400, max_size=500)
)


@pytest.mark.parametrize(
    "name",
    [
        "Smith, Jones and Partners International Consulting Group of Companies, Limited Liability",
        "Acme Inc. of Springfield and the surrounding counties (international trading), Ltd.",
        "Universitätsklinikum Hamburg-Eppendorf, Abteilung für Allgemeine Innere Medizin, Station 4",
        "victim@bank.example, " + "a" * 80,
        '"' + "a" * 90,
        "山" * 90,
    ],
)
def test_a_long_name_adds_no_address(name: str) -> None:
    """Names with commas, quotes and at-signs, longer than a header's line, leave To and From with one address each."""
    _expect_own_addresses(name)


@settings(deadline=None, max_examples=25)
@given(NAMES)
def test_no_name_adds_or_breaks_an_address(name: str) -> None:
    """No name of customer, plan and seller adds an address or breaks an address."""
    _expect_own_addresses(name)


@pytest.mark.proof
@settings(deadline=None, max_examples=1_000)
@given(NAMES)
def test_no_name_adds_or_breaks_an_address_for_long(name: str) -> None:
    """Of a thousand random names, no name adds or breaks an address."""
    _expect_own_addresses(name)


def _to(name: str) -> str:
    return f"{name} <ann@customer.example>" if name else "ann@customer.example"


def _decoded(mail: EmailMessage, header: str) -> str:
    """Return the header with its encoded words decoded (RFC 2047). Python's newer parser leaves spaces between encoded
    words."""
    return str(make_header(decode_header(str(message_from_bytes(mail.as_bytes())[header]))))


def _expect_own_addresses(name: str) -> None:
    """Check that a mail with this name has only its own addresses, both for Python's parser and for programs that
    decode a header's encoded words before looking for addresses."""
    mail = _compose("receipt", customer_name=name, plan=name, seller={"name": name, "address": "", "tax_id": ""})
    assert _addresses(mail) == (["ann@customer.example"], [SENDER])
    assert set(mail.keys()) == {"Subject", "From", "To", "MIME-Version", "Content-Type"}
    for header, own in (("To", "ann@customer.example"), ("From", SENDER)):
        decoded = _decoded(mail, header)
        assert [address for _, address in getaddresses([decoded])] == [own]
        assert "\r" not in decoded
        assert "=?" not in decoded


@pytest.mark.parametrize(
    "name",
    ["=?utf-8?q?Lee=2C_eve=40evil=2Eexample?=", "=?utf-8?q?a=0D=0ABcc:_eve@evil.example?=", "=?utf-8?b?TGVlLCBldmVA?="],
)
def test_an_encoded_word_in_a_name_is_never_decoded(name: str) -> None:
    """An encoded word in a name is never decoded. Python's header classes would decode the word into a second addressee
    or a new header."""
    _expect_own_addresses(name)
    for mail in (_compose("receipt", plan=name), _compose("canceled", plan=name, status=Status.FAILED)):
        assert str(mail["Subject"]).replace("= ?", "=?").partition(name)[1] == name


def test_nobody_but_the_address_on_file_is_handed_to_ses(shop: World) -> None:
    """SES sends to the destinations of the call and never to a header's addresses: the destination is the customer
    alone, whatever the names are."""
    shop.subscribe(
        customer_name="=?utf-8?q?Lee=2C_eve=40evil=2Eexample?=", plan="x, eve@evil.example\r\nBcc: a@b.example"
    )
    shop.run()
    [handed_over] = shop.ses.sent
    assert handed_over["Destinations"] == ["ann@customer.example"]
    assert b"eve@evil.example" not in handed_over["RawMessage"]["Data"].partition(b"\r\n\r\n")[0].partition(b"\nTo:")[2]


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("ශ්\u200dරී රාමචන්ද්\u200dරන්", "ශ්\u200dරී රාමචන්ද්\u200dරන්"),
        ("രാജന്\u200d നായര്\u200d", "രാജന്\u200d നായര്\u200d"),
        ("র\u200d্যাপ", "র\u200d্যাপ"),
        ("پژمان گل\u200cمحمدی", "پژمان گل\u200cمحمدی"),
        ("Ann 👩\u200d💻 ❤\ufe0f\u200d🔥", "Ann 👩\u200d💻 ❤\ufe0f\u200d🔥"),
        ("An\u200dn\u200b L\u00adee\ufeff\u2060", "Ann Lee"),
        ("Ann\u202e eel\u2069", "Ann eel"),
        ("محمد\u200f علي\u200e", "محمد علي"),
        ("Ann\x85Lee\u2028\tII", "Ann Lee II"),
        ("\u3164", ""),
        ("ක" * 20 + "\u0dca\u200dෂ", "ක" * 20 + "\u0dca\u200dෂ"),
        ("ක්\u200d\u200d\u200dෂ", "ක්\u200dෂ"),
    ],
)
def test_a_name_stays_in_one_piece(name: str, seen: str) -> None:
    """In To and greeting, joiners that shape a letter stay, and all other invisible characters vanish without a gap."""
    mail = _compose("receipt", customer_name=name)
    assert _decoded(mail, "To") == _to(seen)
    assert _text(mail).splitlines()[0] == (f"Hello {seen}," if seen else "Hello,")


@settings(deadline=None)
@given(st.text(st.sampled_from("aé ක\u0dca\u200dෂनि\u093f山🙂"), max_size=120))
def test_a_name_is_read_back_as_it_was_written(name: str) -> None:
    """A name of any length and scripts is read back from the header without a lost or added space or letter."""
    mail = _compose("receipt", customer_name=name, plan=name or "Pro")
    assert _decoded(mail, "To") == _to(line(name, 60))
    assert _decoded(mail, "Subject") == f"Receipt for {line(name, 200) or ('Pro' if not name else '')}: $29.99"


@pytest.mark.parametrize(("text", "most", "seen"), [
    ("abcdef", 6, "abcdef"), ("abcdefg", 6, "abcde…"), ("abcd efg", 6, "abcd…"), ("abcde\u0301\u0323f", 6, "abcd…"),
    ("abcන්\u200dද", 6, "abc…"), ("abcdเกz", 6, "abcd…"), ("\u0301" * 9, 6, "\u0301" * 5 + "…"),
    ("abم\u200cنcd", 4, "ab…"), ("abم\u200cنcd", 5, "ab…"),
])  # fmt: skip
def test_a_long_name_is_cut_between_letters(text: str, most: int, seen: str) -> None:
    """A long name is cut with an ellipsis, and no letter is parted from its marks or joined letters."""
    assert line(text, most) == seen


def test_a_domain_in_another_script_is_sent_to_in_ascii() -> None:
    """An internationalised domain name is sent as punycode."""
    assert deliverable("info@bücher.example") == "info@xn--bcher-kva.example"
    with pytest.raises(BadAddress):
        deliverable("info@" + "ü" * 80 + ".example")


@pytest.mark.parametrize(
    "domain", ["straße.example", "οδος.example", "οδός.example", "क\u094d\u200dष.example", "a\u200cb.example"]
)
def test_a_domain_that_is_read_in_two_ways_is_refused(domain: str) -> None:
    """A domain with an eszett, a final sigma or a joiner is refused: the two editions of IDNA read two different
    domains, perhaps of two owners."""
    with pytest.raises(BadAddress, match="two different domains"):
        deliverable(f"info@{domain}")


@pytest.mark.parametrize(
    ("end", "said"),
    [(date(2026, 2, 1), "31 January 2026"), (date(2026, 2, 2), "31 January 2026 to 1 February 2026")],
)
def test_a_period_of_one_day_is_one_day(end: date, said: str) -> None:
    """A period of one day is told as a single day, not as a range."""
    mail = _compose("receipt", period_end=end)
    assert f"for Pro ({said})." in _text(mail)


@pytest.mark.parametrize(("count", "said"), [(0, "0 parts"), (1, "1 part"), (2, "2 parts")])
def test_one_is_not_many(count: int, said: str) -> None:
    """Commands use the singular for a count of one."""
    assert number(count, "part") == said
