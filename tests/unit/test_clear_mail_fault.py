"""`clear-mail-fault` sends the waiting mails to an address that works again, once, and only where the customer has not
asked to get no mail."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from renewals.domain.errors import Overtaken
from renewals.domain.renewal import Mail, MailState, mail_token
from renewals.domain.renewal_items import item_of
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.register import Register
from tests.fake_aws import error
from tests.fakes import DUE, LATER, NOON, World
from tests.unit.test_mail_feedback import BOUNCE, _event, _take, bounce
from tests.unit.test_subscriptions_command import Account, account, command, on, squeezed

__all__ = ["account", "command"]
WHY = ("--why", "Her mailbox was full and is empty again")
CLEAR = ("clear-mail-fault", "sub_1", *WHY)


def _complain(shop: World, n: int = -1) -> None:
    _take(shop, _event("Complaint", {"complaintFeedbackType": "abuse"}, shop.ses.sent[n]))


def _register(shop: World) -> Register:
    client: Any = shop.dynamodb
    return Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")


def _status(shop: World, day: str = DUE.isoformat()) -> str:
    return str(shop.items()[day]["status"])


def test_a_receipt_that_came_back_is_mailed_to_the_same_address(shop: World, command: Any) -> None:
    """The mark is removed, the receipt is mailed once more, and the timeline names the person who cleared the fault and
    the reason."""
    on(shop)
    shop.run()
    bounce(shop)
    done = command(*CLEAR)
    assert (done.exit_code, _status(shop)) == (0, "done")
    assert "mail_fault" not in shop.row()
    assert [mail["Destinations"] for mail in shop.ses.sent] == [["ann@customer.example"]] * 2
    assert "aws sesv2 delete-suppressed-destination --email-address ann@customer.example" in done.output
    told = (
        "Operators/zoe allowed mail to the customer again, at a***@c***.example, although an earlier mail had come "
        "back. The reason given: Her mailbox was full and is empty again."
    )
    assert told in squeezed(command("why", "sub_1"))
    assert len(shop.gateway.charges) == 1


@pytest.mark.parametrize(
    ("why", "fault"),
    [("", "is blank"), (" ", "is blank"), ("\x1b]52;c;eA==\x07", "has a control character"), ("x" * 1001, "is longer")],
)
def test_a_fault_is_cleared_with_a_reason_or_not_at_all(shop: World, command: Any, why: str, fault: str) -> None:
    """Without a reason, or with a reason unreadable in the timeline, nothing changes."""
    on(shop)
    shop.run()
    bounce(shop)
    refused = command("clear-mail-fault", "sub_1", "--why", why)
    assert (refused.exit_code, fault in refused.output) == (2, True)
    assert "mail_fault" in shop.row()


def test_all_that_waited_is_mailed_by_itself(shop: World, command: Any) -> None:
    """The mails of both waiting periods go out, oldest first, and the command charges nothing that has become due
    meanwhile."""
    on(shop)
    shop.environment = "dev"
    shop.run()
    bounce(shop)
    shop.edit(test_clock="2026-02-28")
    shop.run("february", NOON + timedelta(days=28))
    assert (_status(shop), _status(shop, "2026-02-28")) == ("mail_failed", "mail_failed")
    charged = len(shop.gateway.charges)
    assert command(*CLEAR).exit_code == 0
    assert (_status(shop), _status(shop, "2026-02-28")) == ("done", "done")
    assert (len(shop.mails()), len(shop.gateway.charges)) == (3, charged)


def test_the_notice_of_a_refusal_goes_out_again(shop: World, command: Any) -> None:
    """A bounced mail about a decline is still owed: once the fault is cleared the customer is told, and no card is
    tried before its day."""
    on(shop, payment_method="pm_declined")
    shop.run()
    bounce(shop)
    attempts = len(shop.gateway.attempts)
    command(*CLEAR)
    assert len({mail["Subject"] for mail in shop.mails()}) == 1
    assert (len(shop.mails()), len(shop.gateway.attempts)) == (2, attempts)
    assert "notice" not in shop.items()[DUE.isoformat()]


def test_dunning_goes_on_once_the_customer_can_be_told(shop: World, command: Any) -> None:
    """A bounced final notice holds the end. Once the fault is cleared, the notice goes out, and the customer has the
    usual number of days."""
    shop.subscribe(payment_method="pm_3ds")
    for day in range(17):
        before = len(shop.ses.sent)
        shop.run(f"day-{day}", NOON + timedelta(days=day))
        for mail in range(before, len(shop.ses.sent)):
            bounce(shop, mail, NOON + timedelta(days=day))
    assert "held_at" in shop.items()[DUE.isoformat()]
    sent = len(shop.ses.sent)
    _register(shop).clear_mail_fault(shop.row(), "mended", AskedBy("zoe", NOON))
    for day in range(17, 30):
        shop.run(f"day-{day}", NOON + timedelta(days=day))
    told = [mail["Subject"] for mail in shop.mails()[sent:]]
    assert len(told) == 2
    assert shop.row()["status"] == "canceled"


def test_a_reminder_that_came_back_is_sent_again(shop: World) -> None:
    """Once the fault is cleared, the sweep sends a bounced reminder again."""
    shop.subscribe(interval="year")
    early = NOON - timedelta(days=5)
    shop.remind(now=early)
    bounce(shop, now=early + LATER)
    shop.remind("again", early + 2 * LATER)
    assert len(shop.ses.sent) == 1
    _register(shop).clear_mail_fault(shop.row(), "mended", AskedBy("zoe", early))
    for n in range(2):
        shop.remind(f"cleared-{n}", early + (3 + n) * LATER)
    assert len(shop.ses.sent) == 2


def test_whoever_complained_is_mailed_again_only_with_their_consent(shop: World, command: Any) -> None:
    """After a complaint the command without `--customer-agrees` gives the reason for its refusal, and changes
    nothing."""
    on(shop)
    shop.run()
    _complain(shop)
    before = shop.row()
    refused = command(*CLEAR)
    assert (refused.exit_code, shop.row()) == (1, before)
    assert "only with the customer's consent" in squeezed(refused)
    assert command(*CLEAR, "--customer-agrees").exit_code == 0
    assert "mail_fault" not in shop.row()
    assert "although an earlier mail had been reported as spam" in squeezed(command("why", "sub_1"))


@pytest.mark.parametrize(
    "later",
    [
        ("Bounce", BOUNCE),
        ("Bounce", {"bounceType": "Permanent", "bounceSubType": "OnAccountSuppressionList"}),
        ("Complaint", {"complaintSubType": "OnAccountSuppressionList"}),
    ],
)
def test_a_bounce_does_not_make_a_complaint_forgotten(shop: World, command: Any, later: tuple[str, Any]) -> None:
    """After a complaint SES suppresses the address, so that the next mail bounces and marks the address as bounced; the
    command still asks for the customer's consent."""
    on(shop)
    shop.run()
    _complain(shop)
    shop.edit(test_clock="2026-02-28")
    shop.run("february", NOON + timedelta(days=28))
    _take(shop, _event(*later, shop.ses.sent[-1]))
    assert shop.row()["mail_fault"]["kind"] == "bounced"
    assert command(*CLEAR).exit_code == 1
    assert command(*CLEAR, "--customer-agrees").exit_code == 0


def test_an_address_on_ses_s_own_list_comes_back_and_is_marked_anew(shop: World, command: Any) -> None:
    """A mail that bounces again after the clearing marks the address anew, and is not sent again without a new
    clearing."""
    on(shop)
    shop.run()
    bounce(shop)
    command(*CLEAR)
    bounce(shop)
    assert (_status(shop), shop.row()["mail_fault"]["kind"]) == ("mail_failed", "bounced")
    shop.run("again", NOON + 9 * LATER)
    assert len(shop.ses.sent) == 2
    assert command(*CLEAR).exit_code == 0
    assert (_status(shop), len(shop.ses.sent)) == ("done", 3)


def test_nothing_is_cleared_where_nothing_stands_against_the_address(shop: World, command: Any) -> None:
    """For an address without a mark, valid or not, the command says so and writes nothing."""
    on(shop)
    shop.run()
    assert "The address of sub_1 has no fault" in squeezed(command(*CLEAR))
    shop.edit(customer_email="nobody")
    assert "customer_email is not a mail address" in squeezed(command(*CLEAR))
    assert not shop.dynamodb.items("changes")


def test_a_confirmation_that_failed_alone_can_be_cleared(shop: World, command: Any) -> None:
    """An address at which only the confirmation of a change failed has no mark and no waiting period: the command still
    clears the fault, so that the confirmation is asked for again."""
    on(shop)
    shop.edit(renewal_date="2026-02-28")
    mail = Mail(MailState.FAILED, mail_token(None), "run", NOON, "ann@customer.example", NOON, reason="ses: Refused")
    record = {"subscription_id": "sub_1", "change": "created", "at": NOON.isoformat(), "by": "ann", "what": "created"}
    shop.dynamodb.put("changes", record | {"details": {}, "confirmation": item_of(mail)})
    assert command(*CLEAR).exit_code == 0
    assert shop.row()["mail_faults_cleared"] == 1


def test_a_command_that_was_cut_off_is_run_again(shop: World, command: Any, account: Account) -> None:
    """After a cut between the clearing and the mails, the repeated command sends the waiting mails, and clears nothing
    twice."""
    on(shop)
    shop.run()
    bounce(shop)
    _register(shop).clear_mail_fault(shop.row(), "mended", AskedBy("zoe", NOON))
    changes = len(shop.dynamodb.items("changes"))
    assert command(*CLEAR).exit_code == 0
    assert (_status(shop), len(shop.mails())) == ("done", 2)
    assert len(shop.dynamodb.items("changes")) == changes
    assert len(account.asked) == 1


def test_a_fault_that_came_meanwhile_is_not_cleared_unseen(shop: World) -> None:
    """When SES reports a new fault, or the address changes, between the look and the clearing, nothing is written."""
    shop.subscribe()
    shop.run()
    bounce(shop)
    seen = shop.row()
    shop.edit(mail_fault=seen["mail_fault"] | {"kind": "complained"})
    register = _register(shop)
    with pytest.raises(Overtaken):
        register.clear_mail_fault(seen, "mended", AskedBy("zoe", NOON))
    shop.edit(mail_fault=seen["mail_fault"], customer_email="ann@new.example")
    with pytest.raises(Overtaken):
        register.clear_mail_fault(seen, "mended", AskedBy("zoe", NOON))
    assert not shop.dynamodb.items("changes")


def test_the_history_keeps_no_address(shop: World) -> None:
    """The record of the clearing holds the address only as masked for display."""
    shop.subscribe()
    shop.run()
    bounce(shop)
    _register(shop).clear_mail_fault(shop.row(), "ann@customer.example works again", AskedBy("zoe", NOON))
    assert "ann@customer.example" not in str(shop.dynamodb.items("changes"))


def test_a_receipt_behind_the_mail_of_a_refund_goes_out_too(shop: World) -> None:
    """A receipt and the mail of a refund both wait for the address. The execution started by a corrected address sends
    the mail of the refund, and the sweep then finds the receipt."""
    shop.subscribe()
    shop.run()
    bounce(shop)
    shop.gateway.refund("pi_1", 1000, request="", idempotency_key="k")
    shop.settle_refunds(now=NOON + LATER)
    item = shop.items()[DUE.isoformat()]
    assert (item["status"], item["mails"][item["notice"]]["state"]) == ("mail_failed", "failed")
    shop.edit(customer_email="ann@new.example")
    shop.run("edited", NOON + 3 * LATER, period=DUE.isoformat())
    assert [mail["Destinations"] for mail in shop.ses.sent[1:]] == [["ann@new.example"]]
    item = shop.items()[DUE.isoformat()]
    assert (item["status"], "unfinished" in item) == ("receipted", True)
    for n in range(2):
        shop.run(f"swept-{n}", NOON + (5 + n) * LATER, period=DUE.isoformat())
    item = shop.items()[DUE.isoformat()]
    assert [mail["Destinations"] for mail in shop.ses.sent[1:]] == [["ann@new.example"]] * 2
    assert (item["status"], "unfinished" in item) == ("done", False)


def test_a_receipt_behind_a_refunds_mail_of_unknown_fate_goes_out_too(shop: World) -> None:
    """When the connection to SES breaks during the mail of the refund, the receipt no longer waits for that mail."""
    shop.subscribe()
    shop.run()
    bounce(shop)
    shop.gateway.refund("pi_1", 1000, request="", idempotency_key="k")
    shop.settle_refunds(now=NOON + LATER)
    shop.edit(customer_email="ann@new.example")
    shop.ses.trouble = [ReadTimeoutError(endpoint_url="x")]
    shop.run("edited", NOON + 3 * LATER, period=DUE.isoformat())
    item = shop.items()[DUE.isoformat()]
    assert (item["status"], "unfinished" in item) == ("receipted", True)


def test_a_receipt_and_the_mail_of_a_refund_are_mailed_by_one_command(shop: World, command: Any) -> None:
    """One command sends both a waiting receipt and a waiting mail of a refund, and ends when no mail is owed."""
    on(shop)
    shop.run()
    bounce(shop)
    shop.gateway.refund("pi_1", 1000, request="", idempotency_key="k")
    shop.settle_refunds(now=NOON + LATER)
    done = command(*CLEAR)
    assert (done.exit_code, _status(shop)) == (0, "done")
    assert len(shop.ses.sent) == 3


def test_a_complaint_about_a_reminder_is_remembered_after_a_bounce(shop: World, command: Any) -> None:
    """A complaint about a reminder counts even after a later bounce: the command asks for the customer's consent."""
    on(shop)
    shop.edit(interval="year", test_clock="2026-01-26")
    shop.remind(now=NOON - timedelta(days=5))
    _complain(shop)
    shop.edit(test_clock="2026-01-31")
    shop.run()
    _take(shop, _event("Bounce", BOUNCE, shop.ses.sent[-1]))
    assert shop.row()["mail_fault"]["kind"] == "bounced"
    assert command(*CLEAR).exit_code == 1
    assert command(*CLEAR, "--customer-agrees").exit_code == 0


def test_the_version_before_reads_what_is_recorded_after_a_fault_was_cleared(shop: World, command: Any) -> None:
    """Records of mails keep to the attributes of an earlier version, which refuses a mail with an unknown attribute."""
    on(shop)
    shop.run()
    bounce(shop)
    assert command(*CLEAR).exit_code == 0
    item = shop.items()[DUE.isoformat()]
    known = {"state", "token", "owner", "claimed_until", "to", "at", "message_id", "reason"}
    assert item["mails"]["receipt_1"].keys() <= known
    assert [each.keys() - {"name"} <= known for each in item["earlier_mails"]] == [True]


def test_what_could_not_be_mailed_after_all_is_said(shop: World, command: Any) -> None:
    """When SES still refuses the address, the receipt keeps waiting, the command says so, and its exit status is 1."""
    on(shop)
    shop.run()
    bounce(shop)
    shop.ses.trouble = [error("InvalidParameterValue", "SendRawEmail")]
    done = command(*CLEAR)
    assert (done.exit_code, _status(shop), len(shop.mails())) == (1, "mail_failed", 1)
    assert "For 1 of 1 periods, a mail to a***@c***.example may still be missing" in squeezed(done)
