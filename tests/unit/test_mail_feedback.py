"""Feedback of SES about a sent mail marks the address in the row, and nobody is canceled without having been told."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from mail_feedback import app
from mail_feedback.event import parse
from mail_feedback.feedback import Feedback
from renewals.domain import mail_tags
from renewals.domain.errors import BadEvent
from renewals.domain.mail_tags import Tagged
from renewals.domain.timeline import timeline
from renewals.ledger.confirmation_records import ConfirmationRecords
from renewals.ledger.reminder_records import Records
from renewals.runtime import aws
from tests.fakes import DUE, LATER, NOON, Cut, World

DAY = timedelta(days=1)
EVENTS = Path(__file__).parents[2] / "events"
BOUNCE = {"bounceType": "Permanent", "bounceSubType": "General"}
OLD, NEW = "ann@customer.example", "ann@new.example"

type Json = dict[str, Any]


def _event(kind: str, said: Json, sent: Json, at: datetime = NOON + timedelta(minutes=1)) -> Json:
    """Return an event as SES publishes it about a sent mail: with the mail's tags, and with personal data."""
    to = sent["Destinations"]
    recipients = [{"emailAddress": to[0], "status": "5.1.1", "diagnosticCode": f"smtp; 550 unknown {to[0]}"}]
    told = {"timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "bouncedRecipients": recipients}
    tags = {tag["Name"]: [tag["Value"]] for tag in sent["Tags"]} | {"ses:configuration-set": ["receipts"]}
    mail = {"timestamp": told["timestamp"], "messageId": "m", "destination": to, "tags": tags}
    return {"eventType": kind, kind.lower(): said | told, "mail": mail}


def _feedback(shop: World, now: datetime) -> Feedback:
    client: Any = shop.dynamodb
    confirmed = ConfirmationRecords(client, subscriptions="subscriptions", changes="changes")
    return Feedback(shop.ledger, Records(client, "subscriptions"), lambda: confirmed, now)


def _take(shop: World, event: Json, now: datetime = NOON + LATER) -> str:
    word = parse(event)
    assert word is not None
    return _feedback(shop, now).take(word)


def bounce(shop: World, n: int = -1, now: datetime = NOON + LATER) -> str:
    """Have a mail bounce permanently: mail number `n`, by default the latest mail."""
    return _take(shop, _event("Bounce", BOUNCE, shop.ses.sent[n], now), now)


def _live(shop: World, days: range, *, bounces: bool = False) -> None:
    """Run the sweep's daily execution and one more on every day of `days`; with `bounces`, every mail bounces at
    once."""
    for day in days:
        for n in range(2):
            before = len(shop.ses.sent)
            shop.run(f"day-{day}-{n}", NOON + day * DAY + n * LATER)
            for mail in range(before, len(shop.ses.sent)) if bounces else ():
                bounce(shop, mail, NOON + day * DAY + n * LATER)


def _item(shop: World) -> Json:
    return shop.items()[DUE.isoformat()]


def _told(shop: World) -> dict[str, str]:
    entries = timeline(shop.row(), shop.items().values(), [])
    return {entry.kind: entry.text for entry in entries}


# --- the address is marked -------------------------------------------------------------------------------------------


def test_a_receipt_that_came_back_is_parked_and_goes_to_the_corrected_address(shop: World) -> None:
    """After a bounce the row names the address at fault and the renewal waits as `mail_failed`; a corrected address
    gets the mail, once."""
    shop.subscribe()
    shop.run()
    assert bounce(shop) == "marked"
    mark = {"address": OLD, "kind": "bounced", "at": "2026-01-31T12:02:00.000000+00:00", "reason": "Permanent, General"}
    assert shop.row()["mail_fault"] == mark
    assert (_item(shop)["status"], _item(shop)["reason"]) == ("mail_failed", "it came back (Permanent, General)")
    assert shop.run("again", NOON + 2 * LATER) == "Success"
    assert len(shop.mails()) == 1
    shop.edit(customer_email=NEW)
    shop.run("corrected", NOON + 3 * LATER)
    assert [mail["Destinations"] for mail in shop.ses.sent] == [[OLD], [NEW]]
    assert _item(shop)["status"] == "done"
    assert len(shop.gateway.charges) == 1


def test_a_mail_is_held_back_by_its_own_failure_alone(shop: World) -> None:
    """A receipt waits for a corrected address, and a decline's mail of the same period had bounced at the old address.
    The customer goes back to the old address, and the receipt is mailed there: only a mail's own failure holds the mail
    back."""
    shop.subscribe(payment_method="pm_declined", customer_email=OLD)
    shop.run()
    bounce(shop)
    shop.edit(customer_email="nobody", payment_method="pm_ok")
    shop.run("paid", NOON + 2 * LATER)
    assert _item(shop)["status"] == "mail_failed"
    shop.dynamodb.put(
        "subscriptions", {k: v for k, v in shop.row().items() if k != "mail_fault"} | {"customer_email": OLD}
    )
    assert shop.run("back", NOON + 4 * LATER, period=DUE.isoformat()) == "Success"
    assert (_item(shop)["status"], len(shop.mails())) == ("done", 2)


def test_a_corrected_address_is_mailed_at_once(shop: World) -> None:
    """An address corrected within the seconds in which the renewal still had an owner is mailed by the next request."""
    shop.subscribe()
    shop.run()
    bounce(shop, now=NOON + timedelta(seconds=1))
    shop.edit(customer_email=NEW)
    shop.run("corrected", NOON + timedelta(seconds=2))
    assert [mail["Destinations"] for mail in shop.ses.sent] == [[OLD], [NEW]]


def test_a_bounce_owns_nothing_on_another_day(shop: World) -> None:
    """SES speaks in real time, months ahead of a subscription's test clock: a bounce leaves no lease behind, and a
    corrected address is mailed at once."""
    shop.subscribe()
    shop.run()
    bounce(shop, now=NOON + 300 * DAY)
    shop.edit(customer_email=NEW)
    shop.run("corrected", NOON + LATER)
    assert [mail["Destinations"] for mail in shop.ses.sent] == [[OLD], [NEW]]


def test_what_an_earlier_version_parked_is_looked_for_again_on_its_dunning_dates(shop: World) -> None:
    """An earlier version took a declined renewal with a bounced mail out of the index of unfinished renewals: every
    recorded dunning day puts the renewal back."""
    shop.subscribe(payment_method="pm_3ds")
    _live(shop, range(16), bounces=True)
    assert "held_at" in _item(shop)
    for name in ("unfinished", "parked"):
        _item(shop).pop(name)
    _live(shop, range(16, 18), bounces=True)
    assert "unfinished" in _item(shop)


def test_later_mails_to_a_marked_address_are_parked_unsent(shop: World) -> None:
    """With a marked address the next month is charged and receipted, but its mail is not sent in vain: the mail waits
    for a corrected address."""
    shop.subscribe()
    shop.run()
    bounce(shop)
    assert shop.run("february", NOON + 28 * DAY) == "EmailFailed"
    assert shop.items()["2026-02-28"]["status"] == "mail_failed"
    assert (len(shop.mails()), len(shop.gateway.charges), len(shop.receipts())) == (1, 2, 2)
    shop.edit(customer_email=NEW)
    for n in range(2):
        shop.run(f"corrected-{n}", NOON + 28 * DAY + (n + 1) * LATER)
    assert [mail["Destinations"] for mail in shop.ses.sent[1:]] == [[NEW], [NEW]]


def test_the_timeline_says_what_came_back_and_what_follows(shop: World) -> None:
    """The timeline tells of the mail, the bounce and the mark in plain words, with the address masked and no text of
    the mail server."""
    shop.subscribe()
    shop.run()
    bounce(shop)
    told = _told(shop)
    assert told["mailed"] == "Mailed the receipt to a***@c***.example."
    assert told["bounced"] == "The mail to a***@c***.example with the receipt came back (Permanent, General)."
    assert told["address_marked"] == (
        "The address a***@c***.example is marked, since mail to it came back: nothing more is mailed there until "
        "customer_email is changed, or the fault is cleared."
    )
    assert "mail_failed" not in told
    assert OLD not in json.dumps(list(told.values()))


def test_a_corrected_address_is_not_marked_by_what_comes_late_of_the_old_one(shop: World) -> None:
    """A late bounce of the old address leaves the corrected address unmarked; the mail is noted as failed and sent to
    the corrected address."""
    shop.subscribe()
    shop.run()
    shop.edit(customer_email=NEW)
    assert bounce(shop) == "noted"
    assert "mail_fault" not in shop.row()
    shop.run("again", NOON + 2 * LATER)
    assert [mail["Destinations"] for mail in shop.ses.sent] == [[OLD], [NEW]]


def test_what_is_said_twice_or_late_changes_nothing(shop: World) -> None:
    """An event delivered again is known, and changes nothing. After the mail went to a corrected address, the event
    belongs to no mail."""
    shop.subscribe()
    shop.run()
    assert bounce(shop, 0) == "marked"
    assert bounce(shop, 0) == "known"
    shop.edit(customer_email=NEW)
    shop.run("corrected", NOON + 2 * LATER)
    before = json.dumps([shop.items(), shop.row()], default=str, sort_keys=True)
    assert bounce(shop, 0) == "unknown"  # the claim of that mail is gone
    assert json.dumps([shop.items(), shop.row()], default=str, sort_keys=True) == before


def test_a_forged_event_finds_nothing(shop: World) -> None:
    """A sender of events who knows all ids but not the mail's token marks no address."""
    shop.subscribe()
    shop.run()
    event = _event("Bounce", BOUNCE, shop.ses.sent[0])
    forged = Tagged("sub_1", "cus_1", DUE.isoformat(), "receipt_1", "0" * 32)
    event["mail"]["tags"] = {tag["Name"]: [tag["Value"]] for tag in mail_tags.tags(forged)}
    assert _take(shop, event) == "unknown"
    event["mail"]["tags"] = {"ses:configuration-set": ["receipts"]}
    assert _take(shop, event) == "unknown"
    assert "mail_fault" not in shop.row()
    assert _item(shop)["status"] == "done"


@pytest.mark.parametrize("kind", ["receipt_1", "payment_failed_1", "upcoming"])
def test_a_mail_that_comes_back_before_it_is_recorded_as_sent_stays_returned(kind: str) -> None:
    """SES may bounce a mail on its suppression list in an instant: the sender's own record, written later, does not
    turn the bounced mail into a sent mail."""

    def sent(shop: World) -> None:
        if kind == "upcoming":
            shop.subscribe(interval="year", renewal_date="2026-02-03")
            shop.remind()
        else:
            shop.subscribe(payment_method="pm_ok" if kind == "receipt_1" else "pm_declined")
            shop.run()

    undisturbed, shop = World(), World()
    sent(undisturbed)
    shop.cuts.at = 2 * undisturbed.cuts.calls.index("ses.SendRawEmail") + 1
    shop.cuts.happens = lambda _point: assert_marked(bounce(shop))
    sent(shop)
    assert len(shop.mails()) == 1
    mail = shop.row()["reminder_upcoming"] if kind == "upcoming" else _item(shop)["mails"][kind]
    assert mail["state"] == "failed"


def assert_marked(outcome: str) -> None:
    assert outcome == "marked"


@pytest.mark.parametrize("kind", ["receipt", "decline", "reminder"])
def test_a_word_that_is_cut_anywhere_is_taken_by_the_next_try(kind: str) -> None:
    """The handling of an event may be cut before or after any of its calls: run again, the handling ends as if
    undisturbed."""

    def begun() -> World:
        shop = World()
        if kind == "reminder":
            shop.subscribe(interval="year", renewal_date="2026-02-03")
            shop.remind()
        else:
            shop.subscribe(payment_method="pm_ok" if kind == "receipt" else "pm_declined")
            shop.run()
        return shop

    undisturbed = begun()
    earlier = len(undisturbed.cuts.calls)
    assert bounce(undisturbed) == "marked"
    made = len(undisturbed.cuts.calls) - earlier
    assert made >= 2
    for moment in range(2 * earlier, 2 * (earlier + made)):
        shop = begun()
        shop.cuts.at = moment
        with pytest.raises(Cut):
            bounce(shop)
        bounce(shop)
        assert shop.row()["mail_fault"] == undisturbed.row()["mail_fault"]
        states = {name: mail["state"] for item in shop.items().values() for name, mail in item["mails"].items()}
        assert set(states.values()) <= {"failed"}
        assert [item["status"] for item in shop.items().values()] == [
            item["status"] for item in undisturbed.items().values()
        ]


# --- nobody is canceled without having been told --------------------------------------------------------------------


def test_dunning_does_not_end_while_its_mails_come_back(shop: World) -> None:
    """While all mails of dunning bounce, the last attempt and the end wait, visibly, for as long as the bounces go
    on."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(40), bounces=True)
    row, item = shop.row(), _item(shop)
    assert (row["status"], item["status"], row["next_attempt"]) == ("past_due", "declined", "2026-03-12")
    assert (len(shop.gateway.attempts), len(shop.mails())) == (4, 1)
    assert shop.renew("asked", NOON + 40 * DAY).reason == "customer_not_told"
    assert _told(shop)["held"] == (
        "The last attempt and the end of dunning wait, since no mail about them has reached the customer. Correct "
        "customer_email, or cancel the subscription."
    )


def test_once_the_customer_can_be_told_dunning_goes_on_and_ends(shop: World) -> None:
    """A corrected address gets the final notice with its day; on that day come the last attempt and the end."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(20), bounces=True)
    shop.edit(customer_email=NEW)
    _live(shop, range(20, 22))
    assert shop.ses.sent[-1]["Destinations"] == [NEW]
    assert "one last time on 22 February 2026" in _text(shop)
    assert (shop.row()["status"], len(shop.gateway.attempts)) == ("past_due", 4)
    _live(shop, range(22, 23))
    assert (shop.row()["status"], len(shop.gateway.attempts)) == ("canceled", 5)
    assert shop.mail_kinds()[-2:] == ["final_notice", "canceled"]


def test_an_address_that_is_corrected_and_told_of_is_mailed_at_once(shop: World) -> None:
    """A webhook on the day of the correction sends the final notice at once, with the usual number of days before the
    end."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(20), bounces=True)
    shop.edit(customer_email=NEW)
    for n in range(2):
        shop.run(f"webhook-{n}", NOON + 19 * DAY + (n + 2) * LATER)
    assert "one last time on 21 February 2026" in _text(shop)
    assert (len(shop.mails()), shop.row()["next_attempt"]) == (2, "2026-02-21")


def _text(shop: World) -> str:
    """Return the text of the latest mail in one line."""
    return shop.mails()[-1].as_string().replace("=\n", "").replace("\n", " ")


def test_only_the_final_notice_comes_back(shop: World) -> None:
    """When only the final notice bounces, dunning does not end: earlier mails did not name the day of the end."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(5))
    _live(shop, range(5, 10), bounces=True)
    assert shop.row()["status"] == "past_due"
    assert shop.mail_kinds() == ["payment_failed"] * 3


def test_an_early_mail_came_back_and_the_final_notice_did_not(shop: World) -> None:
    """With the address corrected before the final notice, dunning ends on its day."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(1), bounces=True)
    shop.edit(customer_email=NEW)
    _live(shop, range(1, 8))
    assert shop.row()["status"] == "canceled"
    assert shop.mail_kinds() == ["payment_failed", "payment_failed", "final_notice", "canceled"]


@pytest.mark.parametrize("card", ["pm_3ds", "pm_declined"])
def test_an_address_that_never_was_one_holds_it_too(shop: World, card: str) -> None:
    """With an invalid address no mail could be sent, nobody was told, and nobody is canceled."""
    shop.subscribe(payment_method=card, customer_email="nowhere")
    _live(shop, range(20))
    assert (shop.row()["status"], shop.mails()) == ("past_due", [])


def test_a_final_notice_that_could_not_be_sent_yet_holds_it(shop: World) -> None:
    """While SES is down on the day of the final notice and later, the end is put off; the notice goes out once SES is
    back."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(5))
    for day in range(5, 8):
        shop.renew(f"day-{day}", NOON + day * DAY)  # without the mail
    assert (shop.row()["status"], shop.row()["next_attempt"]) == ("past_due", "2026-02-09")
    _live(shop, range(8, 9))
    assert shop.mail_kinds()[-1] == "final_notice"
    _live(shop, range(9, 11))
    assert (shop.row()["status"], shop.mail_kinds()[-1]) == ("canceled", "canceled")


def test_a_held_subscription_is_paid_by_another_card(shop: World) -> None:
    """An updated payment method, which the customer gives without a mail, is charged at once though dunning is held."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(12), bounces=True)
    shop.edit(payment_method="pm_ok")
    shop.run("card", NOON + 12 * DAY)
    assert (shop.row()["status"], len(shop.gateway.charges)) == ("active", 1)


def test_a_held_subscription_can_be_canceled(shop: World) -> None:
    """A person may cancel a held subscription, and so takes over telling the customer."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(12), bounces=True)
    shop.edit(status="canceled")
    shop.run("canceled", NOON + 12 * DAY)
    assert (_item(shop)["status"], "next_attempt" in shop.row()) == ("given_up", False)


def test_the_news_of_the_end_goes_to_the_corrected_address(shop: World) -> None:
    """When the mail about the end bounces after the cancellation, the mail is sent to the corrected address."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(8))
    assert (_item(shop)["status"], bounce(shop)) == ("given_up", "marked")
    assert _item(shop)["notice"] == "canceled_5"
    shop.edit(customer_email=NEW)
    shop.run("corrected", NOON + 8 * DAY)
    assert [mail["Destinations"] for mail in shop.ses.sent[-2:]] == [[OLD], [NEW]]


def test_old_news_that_comes_back_is_not_owed_again(shop: World) -> None:
    """When a decline's mail bounces after the period was paid, the mail is noted as failed and not sent again."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    shop.edit(payment_method="pm_ok")
    shop.run("card", NOON + LATER)
    bounce(shop, 0)
    assert (_item(shop)["status"], "notice" in _item(shop)) == ("done", False)
    shop.edit(customer_email=NEW)
    shop.run("corrected", NOON + 2 * LATER)
    assert len(shop.mails()) == 2


# --- what is no bounce ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Transient", "Undetermined"])
def test_a_passing_bounce_marks_nothing_and_is_told(shop: World, kind: str) -> None:
    """A transient bounce (a full mailbox, an absence notice) marks no address, is told in the timeline, and lets the
    next mail go out."""
    shop.subscribe()
    shop.run()
    event = _event("Bounce", {"bounceType": kind, "bounceSubType": "MailboxFull"}, shop.ses.sent[0])
    assert (_take(shop, event), _take(shop, event)) == ("noted", "known")
    assert (_item(shop)["status"], "mail_fault" in shop.row()) == ("done", False)
    assert _told(shop)["undelivered"] == (
        f"The mail to a***@c***.example with the receipt may not have arrived ({kind}, MailboxFull)."
    )
    assert shop.run("february", NOON + 28 * DAY) == "Success"
    assert len(shop.mails()) == 2


def test_who_complained_is_told_of_money_and_of_what_rules_ask_for(shop: World) -> None:
    """A complaint marks the address and is told in the timeline: receipts and the reminder of a yearly renewal go on,
    since no customer can decline them. The reminder about a card stops."""
    shop.subscribe(interval="year")
    shop.run()
    event = _event("Complaint", {"complaintFeedbackType": "abuse"}, shop.ses.sent[0])
    assert (_take(shop, event), _take(shop, event)) == ("marked", "known")
    assert (shop.row()["mail_fault"]["kind"], _item(shop)["status"]) == ("complained", "done")
    assert "was reported as spam" in _told(shop)["complained"]
    assert "no reminders that a customer may decline" in _told(shop)["address_marked"]
    shop.gateway.expires["pm_ok"] = "2026-12"
    shop.edit(known_card=None)
    assert shop.remind("reminded", NOON + 360 * DAY) == "EmailFailed"
    assert shop.ses.subjects()[1:] == ["Your subscription to Pro renews on 31 January 2027"]
    assert shop.row()["reminder_card_expires"]["state"] == "failed"
    assert shop.run("next", NOON + 365 * DAY) == "Success"
    assert len(shop.mails()) == 3


def test_a_complaint_does_not_replace_a_bounce(shop: World) -> None:
    """An address marked by a bounce stays marked as bounced when a complaint comes in."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(2))
    assert bounce(shop, 0) == "marked"
    assert _take(shop, _event("Complaint", {}, shop.ses.sent[1])) == "noted"
    assert shop.row()["mail_fault"]["kind"] == "bounced"


def test_a_reminder_that_came_back_marks_the_address(shop: World) -> None:
    """A bounced reminder marks the address and is recorded on the row; the corrected address is reminded while the
    renewal is near."""
    shop.subscribe(interval="year", renewal_date="2026-02-03")
    shop.remind()
    assert (bounce(shop), bounce(shop)) == ("marked", "known")
    assert (shop.row()["reminder_upcoming"]["state"], shop.row()["mail_fault"]["address"]) == ("failed", OLD)
    shop.remind("again", NOON + LATER)
    assert len(shop.mails()) == 1
    shop.edit(customer_email=NEW)
    shop.remind("corrected", NOON + 2 * LATER)
    assert [mail["Destinations"] for mail in shop.ses.sent] == [[OLD], [NEW]]


# --- events and tags -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "said", "word"),
    [
        ("Bounce", BOUNCE, "bounced"),
        ("Bounce", {"bounceType": "Permanent", "bounceSubType": "OnAccountSuppressionList"}, "bounced"),
        ("Bounce", {"bounceType": "Transient", "bounceSubType": "General"}, "undelivered"),
        ("Bounce", {"bounceType": "Undetermined", "bounceSubType": "Undetermined"}, "undelivered"),
        ("Bounce", {"bounceType": "a type of next year"}, "undelivered"),
        ("Complaint", {}, "complained"),
        ("Complaint", {"complaintSubType": None, "complaintFeedbackType": "abuse"}, "complained"),
        ("Complaint", {"complaintSubType": "OnAccountSuppressionList"}, "bounced"),
        ("Complaint", {"complaintFeedbackType": "not-spam"}, None),
        ("Reject", {"reason": "Bad content"}, "undelivered"),
        ("Delivery", {}, None),
        ("DeliveryDelay", {}, None),
    ],
)
def test_what_each_event_means(kind: str, said: Json, word: str | None) -> None:
    """Every kind of event is classified by the documentation of SES, and no text of a mail server is kept."""
    sent = {"Destinations": [OLD], "Tags": []}
    parsed = parse(_event(kind, said, sent))
    assert (parsed.kind if parsed else None) == word
    assert parsed is None or OLD not in str(parsed)


@pytest.mark.parametrize("event", [{}, {"eventType": "Bounce"}, {"notificationType": "Bounce"}, [], "x"])
def test_what_ses_does_not_send_is_refused(event: Any) -> None:
    """An event unlike those of SES is refused, and so ends in the dead-letter queue; the error quotes nothing of the
    event."""
    with pytest.raises(BadEvent, match=r"^MailFeedback: \w+$"):
        parse(event)


def test_tags_are_what_ses_takes() -> None:
    """The longest ids, full of characters that SES forbids in tags, become tags of at most 256 allowed characters, and
    are read back unchanged."""
    tagged = Tagged("a" + ".:-" * 42 + "z", "b" * 128, "2026-01-31", "action_required_12", "0" * 32)
    written = mail_tags.tags(tagged)
    assert all(len(tag["Value"]) <= 256 and tag["Value"].replace("-", "").replace("_", "").isalnum() for tag in written)
    assert mail_tags.read({tag["Name"]: [tag["Value"]] for tag in written}) == tagged


def test_no_address_or_name_stands_in_a_tag(shop: World) -> None:
    """SES shows tags in metrics and logs, so no tag holds a name or an address."""
    shop.subscribe()
    shop.run()
    [sent] = shop.ses.sent
    told = json.dumps([mail_tags._decoded(tag["Value"]) for tag in sent["Tags"]])
    assert "ann" not in told.lower()
    assert "sub_1" in told


def test_the_handler_takes_what_sns_brings(shop: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler takes the sample event with the tags of a real mail and replies with the outcome, and replies
    `unknown` for an unknown mail."""
    monkeypatch.setattr(aws, "dynamodb", lambda: shop.dynamodb)
    for name, value in (("DYNAMODB_TABLE", "subscriptions"), ("RENEWALS_TABLE", "renewals"), ("TIME_ZONE", "UTC")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ENVIRONMENT", "test")
    app._ledger.cache_clear()
    sample = json.loads((EVENTS / "mail_feedback.json").read_text())
    assert app.handler(sample, None) == {"outcomes": ["unknown"]}
    shop.subscribe()
    shop.run()
    message = json.loads(sample["Records"][0]["Sns"]["Message"])
    message["mail"]["tags"] = {tag["Name"]: [tag["Value"]] for tag in shop.ses.sent[0]["Tags"]}
    sample["Records"][0]["Sns"]["Message"] = json.dumps(message)
    assert app.handler(sample, None) == {"outcomes": ["marked"]}
    assert shop.row()["mail_fault"]["address"] == OLD
    app._ledger.cache_clear()
    assert datetime.fromisoformat(shop.row()["mail_fault"]["at"]).tzinfo == UTC


def test_a_bounce_during_an_attempt_leaves_the_attempt_its_owner(shop: World) -> None:
    """A bounce during an attempt lets no second execution take the attempt over, so that the card is charged once."""
    shop.subscribe(payment_method="pm_declined")
    shop.run()
    again = NOON + DAY
    like = World()
    like.subscribe(payment_method="pm_declined")
    like.run()
    first = len(like.cuts.calls)
    like.run("again", again)

    def meanwhile(_point: str) -> None:
        bounce(shop, 0, again)
        shop.run("another", again + timedelta(seconds=1))

    shop.cuts.at, shop.cuts.happens = 2 * like.cuts.calls.index("gateway.confirm", first), meanwhile
    shop.run("again", again)
    assert len(shop.gateway.attempts) == 2


def test_a_refused_new_card_ends_nothing_before_the_day_that_was_told(shop: World) -> None:
    """The final notice named the 21st: when the customer's new card is declined on the 19th, the subscription still
    lives until the 21st."""
    shop.subscribe(payment_method="pm_declined")
    _live(shop, range(20), bounces=True)
    shop.edit(customer_email=NEW)
    shop.run("told", NOON + 19 * DAY + 2 * LATER)
    assert shop.row()["next_attempt"] == "2026-02-21"
    shop.edit(payment_method="pm_declined_2")
    shop.renew("refused", NOON + 19 * DAY + 3 * LATER)
    shop.run("next day", NOON + 20 * DAY)
    assert (shop.row()["status"], shop.row()["next_attempt"]) == ("past_due", "2026-02-21")
