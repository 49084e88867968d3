"""One truthful mail for every outcome, and never two."""

from datetime import timedelta, timezone
from decimal import Decimal
from email.message import EmailMessage
from hashlib import sha256

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError

from renewals.domain.errors import Overtaken
from renewals.domain.renewal import Renewal
from renewals.ledger import mail_steps
from send_email.delivery import ReceiptAltered
from send_email.post import MailRefused
from tests.fake_aws import error
from tests.fakes import DUE, LATER, NOON, SENDER, Cut, World

DAY = timedelta(days=1)


def _text(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def _status(shop: World) -> str:
    return str(shop.items()[DUE.isoformat()]["status"])


def test_the_receipt_mail_says_what_was_paid_and_carries_the_pdf(shop: World) -> None:
    """The mail of a receipt goes from our address to the customer's, in plain text and HTML, with the stored PDF
    attached byte for byte."""
    shop.subscribe(customer_name="Zoë Ångström", plan="Größe <b>L</b>")
    shop.run()
    [mail] = shop.mails()
    [handed_over] = shop.ses.sent
    assert handed_over["Destinations"] == ["ann@customer.example"]
    assert (handed_over["Source"], handed_over["ConfigurationSetName"]) == (SENDER, "receipts")
    assert mail["From"] == f"Example Shop <{SENDER}>"
    assert mail["Date"].datetime == NOON
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
    """The mail of a decline says in plain words what happened and what happens next, and has no receipt."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    [mail] = shop.mails()
    text = _text(mail, "plain")
    assert "the card has insufficient funds" in text
    assert "You have not been charged." in text
    assert "Your subscription is past due. We will try the same card again on" in text
    assert not list(mail.iter_attachments())


def test_the_days_of_a_mail_are_the_days_of_the_business(shop: World) -> None:
    """The mail of a decline goes out late, when the next day has begun in the time zone of the business but not in UTC:
    the mail names the next day as the earliest day of an attempt."""
    shop.zone = timezone(timedelta(hours=9))
    shop.subscribe(payment_method="pm_declined")
    shop.renew()
    later = NOON + timedelta(hours=32)  # 20:00 on 1 February in UTC
    shop.delivery("run-1", later).deliver("sub_1", "cus_1", DUE.isoformat(), "declined", 1)
    [mail] = shop.mails()
    assert "We will try the same card again on 2 February 2026." in " ".join(_text(mail, "plain").split())


def test_an_action_required_mail_names_the_bank(shop: World) -> None:
    """A mail about 3-D Secure asks for a confirmation at the bank, and does not speak of a decline."""
    shop.subscribe(payment_method="pm_3ds")
    shop.run()
    [mail] = shop.mails()
    assert "your bank asks you to confirm" in _text(mail, "plain")


@pytest.mark.parametrize(
    "address",
    [None, "", "nobody", "@x.example", "a@", "a@b", "a b@x.example", "a@x.example\r\nBcc: b@x.example", "a@x..example",
     "a@-x.example", "müller@x.example", "a" * 65 + "@x.example", "a@" + "b" * 64 + ".example",
     "a@x.example,b@y.example",
     '"a b"@x.example', "a..b@x.example", "<a@x.example>", "a@[127.0.0.1]"],
)  # fmt: skip
def test_a_bad_address_parks_the_renewal_and_keeps_the_receipt(shop: World, address: str | None) -> None:
    """A bad address ends as EmailFailed with a reason and keeps the receipt; the mail waits for a corrected address,
    and is then sent once."""
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


def test_the_address_of_the_day_is_used(shop: World) -> None:
    """An address corrected between the charge and the mail gets the mail."""
    shop.subscribe()
    shop.renew()
    shop.edit(customer_email="new@customer.example")
    shop.run("again", NOON + LATER)
    assert [mail["To"] for mail in shop.mails()] == ["Ann Lee <new@customer.example>"]


def test_what_is_no_longer_true_is_dropped(shop: World) -> None:
    """The mail of a decline is dropped once the subscription was canceled, or once the renewal was paid."""
    shop.subscribe(payment_method="pm_declined")
    shop.renew()
    shop.edit(status="canceled")
    delivery = shop.delivery("run-1", NOON)
    assert delivery.deliver("sub_1", "cus_1", "2026-01-31", "declined", 1) == "dropped"
    shop.edit(status="past_due", payment_method="pm_ok")
    shop.renew("again", NOON + LATER)
    assert delivery.deliver("sub_1", "cus_1", "2026-01-31", "declined", 1) == "dropped"
    assert not shop.mails()


@pytest.mark.parametrize("name", ["Throttling", "ServiceUnavailable", "endpoint"])
def test_a_mail_that_was_certainly_not_sent_is_sent_again(shop: World, name: str) -> None:
    """After throttling, or without any connection, the claim of the mail is released, and the workflow's retry sends
    the mail."""
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
    """After a missing answer or an internal error of SES the mail stands visibly as `mail_unknown`, and no run sends a
    second mail."""
    shop.subscribe()
    shop.ses.trouble.append(lost)
    assert shop.run(tries=3) == "EmailFailed"
    assert _status(shop) == "mail_unknown"
    shop.run("again", NOON + LATER)
    shop.run("third", NOON + DAY)
    assert not shop.mails()


def test_an_address_that_ses_refuses_is_parked(shop: World) -> None:
    """An address that passes our own check and is refused by SES ends as `mail_failed`, with SES's code."""
    shop.subscribe()
    shop.ses.trouble.append(error("InvalidParameterValue", "SendRawEmail"))
    assert shop.run() == "EmailFailed"
    assert shop.items()[DUE.isoformat()]["reason"] == "ses: InvalidParameterValue"


@pytest.mark.parametrize("code", ["MessageRejected", "AccessDenied", "ConfigurationSetDoesNotExist"])
def test_a_fault_of_the_deployment_is_not_the_customers(shop: World, code: str) -> None:
    """An unverified sender or a missing permission marks no customer's address: the mail stays owed, and is sent once
    the fault is mended."""
    shop.subscribe()
    refusal = error(code, "SendRawEmail")
    refusal.response["Error"]["Message"] = "Email address is not verified: ann@customer.example"
    shop.ses.trouble += [refusal, refusal]
    assert shop.run() == "EmailFailed"
    with pytest.raises(MailRefused) as raised:
        shop.delivery("once more", NOON).deliver("sub_1", "cus_1", DUE.isoformat(), "receipted", 1)
    assert code in str(raised.value)
    assert "customer.example" not in str(raised.value)
    assert raised.value.__suppress_context__
    assert _status(shop) == "receipted"
    assert shop.run("again", NOON + LATER) == "Success"
    assert len(shop.mails()) == 1


def test_a_mail_claimed_by_another_is_in_progress(shop: World) -> None:
    """When two executions deliver a mail at once, one of the two sends the mail."""
    shop.subscribe()

    def second(_point: str) -> None:
        assert shop.delivery("second", NOON).deliver("sub_1", "cus_1", "2026-01-31", "receipted", 1) == "in_progress"

    shop.cuts.happens = second
    shop.cuts.at = 2 * 15  # before the mail is handed over
    assert shop.run("first") == "Success"
    assert len(shop.mails()) == 1


def test_an_altered_receipt_is_not_mailed(shop: World) -> None:
    """A stored receipt whose bytes do not match the ledger's hash is not mailed."""
    shop.subscribe()
    renewal = shop.renew().renewal
    assert renewal is not None
    stored = shop.receipt(renewal, NOON)
    shop.s3.objects[str(stored.receipt_key)]["Body"] += b" "
    with pytest.raises(ReceiptAltered):
        shop.delivery("run-1", NOON).deliver("sub_1", "cus_1", "2026-01-31", "receipted", 1)
    assert not shop.mails()


@pytest.mark.parametrize("card", ["pm_declined", "pm_3ds"])
def test_an_address_that_refused_a_mail_gets_it_not_again(shop: World, card: str) -> None:
    """An address refused by SES gets the mail no second time; a corrected address gets the mail, once."""
    shop.subscribe(payment_method=card)
    shop.ses.trouble.append(error("InvalidParameterValue", "SendRawEmail"))
    assert shop.run() == "EmailFailed"
    assert shop.run("again", NOON + LATER) == "Success"
    assert shop.cuts.calls.count("ses.SendRawEmail") == 1
    shop.edit(customer_email="right@customer.example")
    assert shop.run("third", NOON + DAY) == "PaymentDeclined"
    assert [mail["To"] for mail in shop.mails()] == ["Ann Lee <right@customer.example>"]


def test_a_mail_of_an_earlier_attempt_is_dropped(shop: World) -> None:
    """A mail late by one attempt is dropped: the new attempt has its own mail."""
    shop.subscribe(payment_method="pm_declined")
    shop.renew()
    shop.edit(payment_method="pm_declined_too")
    shop.renew("again", NOON + LATER)
    assert shop.delivery("late", NOON + LATER).deliver("sub_1", "cus_1", DUE.isoformat(), "declined", 1) == "dropped"
    assert shop.delivery("again", NOON + LATER).deliver("sub_1", "cus_1", DUE.isoformat(), "declined", 2) == "mailed"
    assert len(shop.mails()) == 1


def test_a_mended_address_and_a_cut_after_sending_is_recorded_as_unknown(shop: World) -> None:
    """After a corrected address and a cut between sending and record, one mail has gone out, and no run ever sends a
    second."""
    shop.subscribe(customer_email="nobody")
    shop.run()
    shop.edit(customer_email="right@customer.example")
    _cut_after_sending(shop)
    assert shop.run("cut", NOON + DAY) == "EmailFailed"
    assert len(shop.mails()) == 1
    for n in range(3):
        shop.run(f"later-{n}", NOON + DAY + (n + 1) * LATER)
    assert _status(shop) == "mail_unknown"
    assert shop.items()[DUE.isoformat()]["mails"]["receipt_1"]["state"] == "unknown"
    assert len(shop.mails()) == 1


def _cut_after_sending(shop: World) -> None:
    """Have the process end right after the next mail is handed over."""
    send = shop.ses.send_raw_email

    def then_end(**mail: object) -> None:
        send(**mail)
        raise Cut("after sending")

    shop.ses.send_raw_email = then_end  # type: ignore[method-assign, assignment]


def test_an_address_that_is_no_text_is_parked_once(shop: World) -> None:
    """A number in `customer_email` after the payment ends as `mail_failed`, and no later request takes the mail up
    again."""
    shop.subscribe()
    shop.renew()
    shop.edit(customer_email=Decimal(5))
    assert shop.run("again", NOON + LATER) == "EmailFailed"
    for n in range(12):
        assert shop.renew(f"later-{n}", NOON + DAY + n * LATER).name == "rejected"
    assert (_status(shop), shop.items()[DUE.isoformat()]["pickups"]) == ("mail_failed", 0)
    shop.edit(customer_email="right@customer.example")
    assert shop.run("mended", NOON + 2 * DAY) == "Success"
    assert len(shop.mails()) == 1


@pytest.mark.parametrize("card", ["pm_declined", "pm_3ds"])
@pytest.mark.parametrize("answer", ["sent", "throttled", "lost"])
def test_what_a_refusals_mail_comes_to_takes_no_later_payment_back(shop: World, card: str, answer: str) -> None:
    """When the customer pays and gets a receipt while SES still works on the decline's mail, the renewal stays done,
    whatever SES answers."""
    shop.subscribe(payment_method=card)
    send = shop.ses.send_raw_email

    def slowly(**mail: object) -> dict[str, object]:
        shop.ses.send_raw_email = send  # type: ignore[method-assign]
        shop.edit(payment_method="pm_ok")
        assert shop.run("second", NOON + timedelta(seconds=3)) == "Success"
        if answer != "sent":
            raise error("Throttling", "SendRawEmail") if answer == "throttled" else ReadTimeoutError(endpoint_url="x")
        return send(**mail)

    shop.ses.send_raw_email = slowly  # type: ignore[method-assign]
    shop.run("first")
    item = shop.items()[DUE.isoformat()]
    assert (item["status"], item["attempt"]) == ("done", 2)
    assert "unfinished" not in item
    assert shop.run("later", NOON + DAY) == "Success"
    assert len(shop.gateway.charges) == 1
    assert [subject.startswith("Receipt for") for subject in shop.ses.subjects()].count(True) == 1


def _unknown(shop: World) -> Renewal:
    """Return a renewal whose mail may or may not have been sent."""
    shop.subscribe()
    shop.ses.trouble = [ReadTimeoutError(endpoint_url="https://ses")]
    assert shop.run() == "EmailFailed"
    renewal = shop.ledger.get("sub_1", DUE.isoformat())
    assert renewal is not None
    return renewal


def test_an_unknown_mail_goes_out_again_once_somebody_decides_so(shop: World) -> None:
    """Two people who decide at once to send an unknown mail again send one more mail, not two, and nobody can send a
    mail again that is known as sent."""
    renewal = _unknown(shop)
    shop.ledger.apply(mail_steps.reopen_mail(renewal, [], NOON + LATER))
    with pytest.raises(Overtaken):
        shop.ledger.apply(mail_steps.reopen_mail(renewal, [], NOON + LATER))
    shop.run("run-2", NOON + 2 * LATER)
    assert (shop.mail_kinds(), _status(shop)) == (["receipt"], "done")
    with pytest.raises(Overtaken):
        shop.ledger.apply(mail_steps.reopen_mail(renewal, [], NOON + 3 * LATER))


def test_an_unknown_mail_waits_for_a_refunds(shop: World) -> None:
    """While the receipt or the mail of a refund is on its way, the period's own mail is not sent again."""
    renewal = _unknown(shop)
    shop.dynamodb.put("renewals", shop.items()[DUE.isoformat()] | {"notice": "refunded_1"})
    with pytest.raises(Overtaken):
        shop.ledger.apply(mail_steps.reopen_mail(renewal, [], NOON + LATER))
    assert _status(shop) == "mail_unknown"


def test_a_receipt_goes_before_the_mail_of_a_refund(shop: World) -> None:
    """An execution about to mail of a refund finds that the period's receipt is owed by now, and leaves both mails to
    the next execution."""
    shop.subscribe()
    shop.run()
    item = shop.items()[DUE.isoformat()]
    item |= {"status": "receipted", "notice": "refunded_1", "mails": {}}
    came = shop.delivery("late", NOON + LATER).deliver("sub_1", "cus_1", DUE.isoformat(), "refunded", 1)
    assert (came, _status(shop), len(shop.ses.sent)) == ("in_progress", "receipted", 1)
