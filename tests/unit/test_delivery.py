"""One truthful mail for each outcome, and never two."""

from datetime import timedelta
from email.message import EmailMessage
from hashlib import sha256

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from send_email.delivery import ReceiptAltered
from send_email.message import BadAddress, deliverable
from tests.fake_aws import error
from tests.fakes import DUE, LATER, NOON, SENDER, World

DAY = timedelta(days=1)


def _text(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def _status(shop: World) -> str:
    return str(shop.items()[DUE.isoformat()]["status"])


def test_the_receipt_mail_says_what_was_paid_and_carries_the_pdf(shop: World) -> None:
    """To the customer's own address, from ours, in plain text and HTML, the stored PDF attached to the byte."""
    shop.subscribe(customer_name="Zoë Ångström", plan="Größe <b>L</b>")
    shop.run()
    [mail] = shop.mails()
    [handed_over] = shop.ses.sent
    assert handed_over["Destinations"] == ["ann@customer.example"]
    assert (handed_over["Source"], handed_over["ConfigurationSetName"]) == (SENDER, "receipts")
    assert mail["From"] == f"Example Shop <{SENDER}>"
    for kind in ("plain", "html"):
        for fact in ("29.99 USD", "Zoë Ångström", "31 January 2026 to 27 February 2026", "Visa ending in 4242"):
            assert fact in _text(mail, kind)
    assert "Größe <b>L</b>" in _text(mail, "plain")
    assert "Größe &lt;b&gt;L&lt;/b&gt;" in _text(mail, "html")
    assert "http" not in _text(mail, "html").replace("https", "")
    [attachment] = mail.iter_attachments()
    pdf = attachment.get_payload(decode=True)
    assert isinstance(pdf, bytes)
    assert [pdf] == list(shop.receipts().values())
    assert sha256(pdf).hexdigest() == shop.items()[DUE.isoformat()]["receipt_sha256"]


def test_a_decline_mail_says_what_happened_and_what_happens_next(shop: World) -> None:
    """In plain words, without a receipt."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    [mail] = shop.mails()
    text = _text(mail, "plain")
    assert "the card has insufficient funds" in text
    assert "You have not been charged." in text
    assert "What happens next" in text
    assert not list(mail.iter_attachments())


def test_an_action_required_mail_names_the_bank(shop: World) -> None:
    """3-D Secure is not called a decline."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    [mail] = shop.mails()
    assert "your bank asks you to confirm" in _text(mail, "plain")


@pytest.mark.parametrize("name", ["Ann\r\nBcc: all@victim.example", "a\x00b\u2028c", "", "🙂" * 300])
def test_a_name_cannot_forge_a_header_or_break_a_mail(shop: World, name: str) -> None:
    """What a customer is called stays in its line."""
    shop.subscribe(customer_name=name, plan=name)
    assert shop.run() == "Success"
    [mail] = shop.mails()
    assert mail["Bcc"] is None
    assert [str(address.addr_spec) for address in mail["To"].addresses] == ["ann@customer.example"]


@pytest.mark.parametrize(
    "address",
    [None, "", "nobody", "@x.example", "a@", "a@b", "a b@x.example", "a@x.example\r\nBcc: b@x.example", "a@x..example",
     "a@-x.example", "müller@x.example", "a" * 65 + "@x.example", "a@" + "b" * 64 + ".example",
     "a@x.example,b@y.example",
     '"a b"@x.example', "a..b@x.example", "<a@x.example>", "a@[127.0.0.1]"],
)  # fmt: skip
def test_a_bad_address_parks_the_renewal_and_keeps_the_receipt(shop: World, address: str | None) -> None:
    """EmailFailed with a reason; parked until the address changes, and then mailed once."""
    shop.subscribe(customer_email=address)
    assert shop.run() == "EmailFailed"
    item = shop.items()[DUE.isoformat()]
    assert item["status"] == "mail_failed"
    assert item["reason"].startswith(("customer_email", "the subscription has no customer_email"))
    assert len(shop.receipts()) == 1
    assert shop.run("again", NOON + LATER) == "Success"
    assert not shop.mails()
    shop.edit(customer_email="right@customer.example")
    assert shop.run("third", NOON + DAY) == "Success"
    assert _status(shop) == "done"
    assert [mail["To"] for mail in shop.mails()] == ["Ann Lee <right@customer.example>"]


def test_a_domain_in_another_script_is_sent_to_in_ascii() -> None:
    """Internationalised domain names travel as punycode."""
    assert deliverable("info@bücher.example") == "info@xn--bcher-kva.example"
    with pytest.raises(BadAddress):
        deliverable("info@" + "ü" * 80 + ".example")


def test_the_address_of_the_day_is_used(shop: World) -> None:
    """Corrected between the charge and the mail: the new address gets it."""
    shop.subscribe()
    shop.renew()
    shop.edit(customer_email="new@customer.example")
    shop.run("again", NOON + LATER)
    assert [mail["To"] for mail in shop.mails()] == ["Ann Lee <new@customer.example>"]


def test_what_is_no_longer_true_is_dropped(shop: World) -> None:
    """Cancelled between the decline and its mail: nothing is sent. The same for a decline that was paid meanwhile."""
    shop.subscribe(payment_method="pm_declined")
    shop.renew()
    shop.edit(status="canceled")
    delivery = shop.delivery("run-1", NOON)
    assert delivery.deliver("sub_1", "2026-01-31", "declined", 1) == "dropped"
    shop.edit(status="past_due", payment_method="pm_ok")
    shop.renew("again", NOON + LATER)
    assert delivery.deliver("sub_1", "2026-01-31", "declined", 1) == "dropped"
    assert not shop.mails()


@pytest.mark.parametrize("name", ["Throttling", "ServiceUnavailable", "endpoint"])
def test_a_mail_that_was_certainly_not_sent_is_sent_again(shop: World, name: str) -> None:
    """Throttled, or never connected: the claim is given back and the workflow's retry sends it."""
    shop.subscribe()
    refused = EndpointConnectionError(endpoint_url="x") if name == "endpoint" else error(name, "SendRawEmail", 503)
    shop.ses.trouble.append(refused)
    assert shop.run(tries=2) == "Success"
    assert len(shop.mails()) == 1


@pytest.mark.parametrize(
    "lost",
    [
        ReadTimeoutError(endpoint_url="x"),
        ConnectionClosedError(endpoint_url="x"),
        error("InternalFailure", "SendRawEmail", 500),
    ],
)
def test_a_mail_that_may_have_been_sent_is_unknown_and_not_sent_again(shop: World, lost: Exception) -> None:
    """No answer, or an internal error: visible as mail_unknown, and no run ever sends a second one."""
    shop.subscribe()
    shop.ses.trouble.append(lost)
    assert shop.run(tries=3) == "EmailFailed"
    assert _status(shop) == "mail_unknown"
    shop.run("again", NOON + LATER)
    shop.run("third", NOON + DAY)
    assert not shop.mails()


def test_an_address_that_ses_refuses_is_parked(shop: World) -> None:
    """What our own check lets through and SES does not: mail_failed with SES's code."""
    shop.subscribe()
    shop.ses.trouble.append(error("InvalidParameterValue", "SendRawEmail"))
    assert shop.run() == "EmailFailed"
    assert shop.items()[DUE.isoformat()]["reason"] == "ses: InvalidParameterValue"


@pytest.mark.parametrize("code", ["MessageRejected", "AccessDenied", "ConfigurationSetDoesNotExist"])
def test_a_fault_of_the_deployment_is_not_the_customers(shop: World, code: str) -> None:
    """An unverified sender or a missing permission parks nobody: the mail is owed, and sent once that is mended."""
    shop.subscribe()
    shop.ses.trouble.append(error(code, "SendRawEmail"))
    with pytest.raises(Exception, match=code):
        shop.run()
    assert _status(shop) == "receipted"
    assert shop.run("again", NOON + LATER) == "Success"
    assert len(shop.mails()) == 1


def test_a_mail_claimed_by_another_is_in_progress(shop: World) -> None:
    """Two executions at the mail at once: one sends it."""
    shop.subscribe()

    def second(_point: str) -> None:
        assert shop.delivery("second", NOON).deliver("sub_1", "2026-01-31", "receipted", 1) == "in_progress"

    shop.cuts.happens = second
    shop.cuts.at = 2 * 15  # before the mail is handed over
    assert shop.run("first") == "Success"
    assert len(shop.mails()) == 1


def test_an_altered_receipt_is_not_mailed(shop: World) -> None:
    """The stored bytes are held against the ledger's hash before they are sent to anybody."""
    shop.subscribe()
    renewal = shop.renew().renewal
    assert renewal is not None
    stored = shop.receipt(renewal, NOON)
    shop.s3.objects[str(stored.receipt_key)]["Body"] += b" "
    with pytest.raises(ReceiptAltered):
        shop.delivery("run-1", NOON).deliver("sub_1", "2026-01-31", "receipted", 1)
    assert not shop.mails()
