"""What follows from a declaration on the public forms: a cancellation takes effect only where the customer on file is
told and can take the end back, and everything else waits for a person."""

import re
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from click.testing import CliRunner

from declaration_worker import app as worker
from renewals.domain import declaration_numbers, declarations
from renewals.domain.changes import ChangeKind
from renewals.domain.declarations import Declaration, DeclarationKind, DeclarationState, Recorded
from renewals.domain.errors import BadSetting, Collision, MissingSetting, NotHandedOver, Throttled, TryAgain
from renewals.domain.item_values import Item
from renewals.language.tags import LANGUAGES
from renewals.ledger import customer_changes
from renewals.ledger.asked_by import AskedBy
from renewals.ledger.declarations import Declarations
from renewals.runtime import aws, clock, dynamodb, telemetry
from renewals.runtime.clock import Moment
from scripts.oncall.__main__ import main
from tests.cuts import Cut
from tests.desk import FORM, SECOND, Desk
from tests.fake_aws import error
from tests.fakes import LATER, NOON, World
from tests.unit.test_subscriptions_command import Account
from tests.visitor import ANN, DAY

# What follows from a cancellation


@pytest.mark.parametrize("contract", ["sub_1", "Abo: sub_1.", "Pro", " pro "])
@pytest.mark.parametrize("address", [ANN, ANN.upper()])
def test_a_cancellation_that_fits_takes_effect_and_the_customer_is_told(
    desk: Desk, contract: str, address: str
) -> None:
    """A cancellation with the address on file, and with the subscription's id or its plan, ends an active subscription
    with its period, as the customer's own. The mail to the address on file names the number, the moment of the
    declaration and the last day, has the link, and says how to take the end back."""
    told = desk.declared(contract=contract, address=address)
    assert (told["state"], told["subscription_id"]) == ("effective", "sub_1")
    assert (desk.shop.row()["status"], desk.shop.row()["cancel_at"]) == ("active", "2026-02-28")
    assert desk.visitor.counted == ["DeclarationsLookedAt"]
    assert desk.mail() == ["Your subscription to Pro is canceled"]
    mail = desk.shop.mails()[0].get_body(("plain",))
    assert desk.shop.mails()[0]["To"].addresses[0].addr_spec == ANN
    said = mail.get_content() if mail else ""
    for each in (told["number"], "27 February 2026", "31 January 2026, 12:00 UTC+00", "resume the subscription"):
        assert each in said, each
    assert "/account/link/" in said


def test_the_customer_takes_the_end_back_and_is_safe_for_thirty_days(desk: Desk) -> None:
    """The customer resumes the subscription on the page after a stranger's declaration. For 30 days, further
    declarations change nothing and wait for a person; afterwards a declaration takes effect again."""
    desk.declared(contract="Pro")
    desk.visitor.sign_in()
    assert desk.visitor.press("resume").status == 303
    assert "cancel_at" not in desk.shop.row()
    resumed = desk.visitor.now
    told = desk.declared(contract="Pro")
    assert (told["state"], told["why"]) == ("for_a_person", "taken_back")
    assert "cancel_at" not in desk.shop.row()
    desk.shop.edit(renewal_date="2026-04-30")
    desk.visitor.now = resumed + 30 * DAY
    assert desk.declared(contract="Pro", name="A")["state"] == "effective"


def test_a_resumption_is_newer_than_a_declaration_that_was_looked_at_late(desk: Desk) -> None:
    """The customer declares, and then cancels and resumes on the page before DeclarationWorker looks at the
    declaration: the newer decision stands, and a person is told."""
    desk.declare()
    desk.visitor.now += SECOND
    desk.visitor.sign_in()
    for action in ("cancel", "resume"):
        assert desk.visitor.press(action).status == 303
    desk.work()
    assert (desk.records[0]["state"], desk.records[0]["why"]) == ("for_a_person", "newer")
    assert "cancel_at" not in desk.shop.row()


@pytest.mark.parametrize("is_before", [False, True])
@pytest.mark.parametrize(
    ("what", "details"),
    [
        (ChangeKind.RESUMED, {"status": ("paused", "active")}),
        (ChangeKind.CREATED, {}),
        (ChangeKind.EDITED, {"cancel_at": ("2026-02-28", None)}),
    ],
)
@pytest.mark.parametrize("test_clock", [None, "2025-06-10", "2027-06-10"])
def test_a_decision_counts_as_newer_by_the_clock_of_the_subscription(
    desk: Desk,
    what: ChangeKind,
    details: dict[str, Any],
    is_before: bool,
    test_clock: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A creation, a resumption or another end by the seller after the declaration keeps the declaration from ending the
    subscription; before the declaration it does not. The moments are compared by the subscription's test clock."""

    def of_row(row: Item) -> Moment:
        return clock.moment(desk.visitor.now, "dev", desk.shop.zone, row.get("test_clock"))

    monkeypatch.setattr(clock, "of_row", of_row)
    if test_clock is not None:
        desk.shop.edit(test_clock=test_clock, renewal_date=test_clock.replace("-10", "-28"))
    if not is_before:
        desk.declare()
    desk.visitor.now += SECOND
    now, register = of_row(desk.shop.row()).now, desk.shop.register
    asked = AskedBy("the shop", now, at=desk.visitor.now)
    client: Any = desk.shop.dynamodb
    dynamodb.transact(client, [register.changes.record("sub_1", what, asked, details)])
    desk.visitor.now += SECOND
    if is_before:
        desk.declare()
    desk.work()
    assert desk.records[0].get("why") == (None if is_before else "newer")
    assert ("cancel_at" in desk.shop.row()) is is_before


@pytest.mark.parametrize("cut", [False, True])
def test_a_renewal_that_was_charged_after_the_declaration_is_left_to_a_person(desk: Desk, cut: bool) -> None:
    """A renewal is charged between the declaration and a late look: the subscription ends with the charged period, the
    customer is told of the end, and a person decides about the charge, also after a look that was cut off."""
    desk.shop.edit(renewal_date="2026-01-31")
    desk.declare()
    desk.visitor.now += LATER
    desk.shop.run(now=desk.visitor.now)
    desk.visitor.now += LATER
    if cut:
        [declared] = desk.records
        desk.shop.dynamodb.put("declarations", declared)
        desk.work()
        desk.shop.dynamodb.put("declarations", declared)
        desk.deliver(declared)
    else:
        desk.work()
    assert (desk.records[0]["state"], desk.records[0]["why"]) == ("for_a_person", "charged")
    assert desk.shop.row()["cancel_at"] == "2026-02-28"
    assert "Your subscription to Pro is canceled" in desk.mail()


def _of_another(shop: World) -> None:
    shop.subscribe(
        subscription_id="sub_2", customer_id="cus_2", customer_email="bob@else.example", renewal_date="2026-02-28"
    )


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ({"address": "eve@else.example"}, "no_fit"),
        ({"contract": "sub_9"}, "no_fit"),
        ({"contract": "Basic"}, "no_fit"),
        ({"contract": "Pro plus"}, "no_fit"),
        ({"contract": "sub_2"}, "no_fit"),
        ({"contract": "sub_1", "address": "bob@else.example"}, "no_fit"),
        ({"wished": "2026-03-01"}, "later_day"),
    ],
)
def test_a_cancellation_that_does_not_fit_changes_nothing_and_waits_for_a_person(
    desk: Desk, typed: dict[str, str], why: str
) -> None:
    """A declaration with another address, another contract or a later day changes no subscription, and a person is
    told."""
    _of_another(desk.shop)
    before = {key: dict(row) for key, row in desk.shop.dynamodb.items("subscriptions").items()}
    told = desk.declared(**typed)
    assert (told["state"], told["why"]) == ("for_a_person", why)
    assert desk.visitor.counted == ["DeclarationsLookedAt", "DeclarationsForPerson"]
    after = desk.shop.dynamodb.items("subscriptions")
    limits = {"declared_in_hour", "declared_in_day"}
    assert {key: {name: row[name] for name in row.keys() - limits} for key, row in after.items()} == before


def test_a_wished_day_within_the_paid_period_is_the_end_of_the_period(desk: Desk) -> None:
    """An ordinary cancellation for a day before the end of the paid period takes effect at the end of the period."""
    assert desk.declared(wished="2026-02-10")["state"] == "effective"
    assert desk.shop.row()["cancel_at"] == "2026-02-28"


@pytest.mark.parametrize("contract", ["Pro", "sub_1"])
@pytest.mark.parametrize("row", [{"status": "past_due"}, {"status": "paused"}, {"status": "unpaid"}])
def test_an_end_without_a_way_back_waits_for_a_person(desk: Desk, row: dict[str, Any], contract: str) -> None:
    """A subscription that would end at once, so that the customer could not take the end back, ends by no declaration,
    even if the declaration names the subscription's id, which is no secret. The customer is told of the receipt."""
    desk.shop.edit(**row)
    told = desk.declared(contract=contract)
    assert (told["state"], told["why"]) == ("for_a_person", "no_way_back")
    assert desk.shop.row()["status"] == row["status"]
    assert desk.mail() == ["We have received a cancellation of your subscription to Pro"]


@pytest.mark.parametrize("contract", ["Pro", "sub_1"])
@pytest.mark.parametrize(
    ("renewal_date", "state"),
    [
        ("2026-01-31", "for_a_person"),
        ("2026-02-01", "for_a_person"),
        ("2026-02-03", "for_a_person"),
        ("2026-02-04", "effective"),
    ],
)
def test_an_end_that_leaves_less_than_three_days_waits_for_a_person(
    desk: Desk, renewal_date: str, state: str, contract: str
) -> None:
    """Shortly before midnight, a declaration takes effect by itself only if the customer then has three whole days to
    take the end back: nobody can end a subscription on the eve of its renewal while the customer sleeps."""
    desk.visitor.now = NOON.replace(hour=23, minute=58)
    desk.shop.edit(renewal_date=renewal_date)
    told = desk.declared(contract=contract)
    assert (told["state"], told.get("why")) == (state, "no_way_back" if state == "for_a_person" else None)
    assert desk.shop.row().get("cancel_at") == (renewal_date if state == "effective" else None)


@pytest.mark.parametrize("contract", ["sub_3 sub_2 sub_1", "sub_1, sub_2", "1 sub_1", "My contracts: sub_1 and sub_1"])
def test_a_list_of_guessed_ids_fits_nothing(desk: Desk, contract: str) -> None:
    """A declaration names at most one id: a stranger cannot try many ids by one form."""
    assert desk.declared(contract=contract)["why"] == "no_fit"
    assert "cancel_at" not in desk.shop.row()


def test_of_several_subscriptions_with_the_plan_none_is_guessed(desk: Desk) -> None:
    """A customer with two subscriptions to one plan must name the id: by the plan alone, a person decides."""
    desk.shop.subscribe(subscription_id="sub_2", renewal_date="2026-02-28")
    assert desk.declared(contract="Pro")["why"] == "no_fit"
    assert desk.declared(contract="sub_2")["state"] == "effective"
    assert "cancel_at" not in desk.shop.row()


def test_an_extraordinary_cancellation_ends_the_subscription_and_waits_for_a_person(desk: Desk) -> None:
    """Nothing is charged any more after an extraordinary cancellation, which holds at least an ordinary one; a person
    decides about the rest."""
    told = desk.declared(way="extraordinary", reason="The service was down for a week")
    assert (told["state"], told["why"], told["subscription_id"]) == ("for_a_person", "extraordinary", "sub_1")
    assert desk.shop.row()["cancel_at"] == "2026-02-28"
    assert desk.mail() == ["Your subscription to Pro is canceled"]


@pytest.mark.parametrize("row", [{"cancel_at": "2026-02-28"}, {"status": "canceled"}])
def test_a_subscription_that_ends_already_stays_as_it_is_and_the_customer_hears_of_the_receipt(
    desk: Desk, row: dict[str, Any]
) -> None:
    """A declaration about a subscription that ends already changes nothing. The receipt is recorded and confirmed by
    mail, and a person answers, because the form promises an answer by mail."""
    desk.shop.edit(**row)
    told = desk.declared()
    assert (told["state"], told["why"]) == ("for_a_person", "ends_already")
    assert [each["what"] for each in desk.shop.dynamodb.items("changes").values()] == ["cancellation_declared"]
    assert {name: desk.shop.row()[name] for name in row} == row
    assert desk.mail() == ["We have received a cancellation of your subscription to Pro"]


def test_a_status_that_nobody_knows_is_no_end(desk: Desk) -> None:
    """A row with an unknown status was written by hand: a person looks at the declaration."""
    desk.shop.edit(status="sleeping")
    assert desk.declared()["why"] == "unreadable"


@pytest.mark.parametrize("fault", ["off", "bounced"])
def test_an_end_that_the_customer_would_not_hear_of_waits_for_a_person(
    desk: Desk, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the deployment confirms no cancellations, or mail to the address came back, no declaration takes effect by
    itself."""
    if fault == "off":
        monkeypatch.setenv("CONFIRMATIONS", "sign_up")
    else:
        desk.shop.edit(mail_fault={"address": ANN, "kind": "bounced", "at": "2026-01-01"})
    assert desk.declared()["why"] == "cannot_tell"
    assert "cancel_at" not in desk.shop.row()


# What follows from a withdrawal


def test_a_withdrawal_ends_nothing_and_is_acknowledged_by_mail(desk: Desk) -> None:
    """A withdrawal waits for a person and changes nothing about the subscription. The address on file gets the
    acknowledgement with number, moment and contract."""
    told = desk.declared("withdrawal")
    assert (told["state"], told["why"], told["kind"]) == ("for_a_person", "withdrawal", "withdrawal")
    assert told["number"].startswith("W")
    assert not {"way", "reason", "wished"} & told.keys()
    assert "cancel_at" not in desk.shop.row()
    assert desk.mail() == ["We have received a withdrawal from your subscription to Pro"]
    mail = desk.shop.mails()[0].get_body(("plain",))
    said = mail.get_content() if mail else ""
    for each in (told["number"], "31 January 2026, 12:00 UTC+00", "sub_1", "please tell us"):
        assert each in said, each


AUTOMATICALLY = {
    "ar": "تلقائيًا",
    "de": "Automatisch tragen wir kein Ende",
    "en": "A person looks at it and writes to you. We do not enter an end of the subscription automatically.",
    "es": "No registramos automáticamente",
    "fr": "pas automatiquement",
    "it": "Non registriamo automaticamente",
    "ja": "自動的に",
    "nl": "niet automatisch",
    "pl": "Nie wpisujemy automatycznie",
    "pt": "Não registramos automaticamente",
    "zh": "自动",
}


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_receipt_denies_no_declaration_its_effect(desk: Desk, tag: str) -> None:
    """A cancellation and a withdrawal take effect when the seller receives them. The mail about the receipt therefore
    says in every language what the seller does, that a person looks and nothing is entered automatically, and never
    that the declaration changes nothing."""
    desk.shop.edit(locale=tag)
    desk.declared("withdrawal")
    desk.mail()
    mail = desk.shop.mails()[0].get_body(("plain",))
    assert AUTOMATICALLY[tag] in (" ".join(mail.get_content().split()) if mail else "")


def test_no_mail_goes_to_an_address_that_only_a_stranger_has_typed(desk: Desk) -> None:
    """A declaration that fits nobody mails nobody."""
    for kind in DeclarationKind:
        desk.declared(kind, address="victim@else.example")
    assert desk.mail() == []


def test_a_mailbox_cannot_be_filled_by_declarations(desk: Desk) -> None:
    """Of many declarations about a subscription, three in an hour and ten in a day are acknowledged by mail; all are
    recorded."""
    for n in range(5):
        desk.declared("withdrawal", name=f"Eve {n}")
    assert len(desk.mail()) == 3
    for n in range(40):
        desk.visitor.source = f"198.51.100.{n}"
        desk.visitor.now += timedelta(minutes=15)
        desk.declared("withdrawal", name=f"Mallory {n}")
        desk.mail()
    assert len(desk.shop.mails()) == 10
    assert len(desk.records) == 45


# At least once, and one effect


def test_a_declaration_that_is_looked_at_again_has_one_effect(desk: Desk) -> None:
    """A record of the stream that is delivered again, also after the customer has taken the end back, does nothing."""
    desk.declared()
    desk.visitor.sign_in()
    desk.visitor.press("resume")
    desk.deliver(*desk.records)
    assert "cancel_at" not in desk.shop.row()


@pytest.mark.parametrize("kind", list(DeclarationKind))
def test_a_worker_that_is_cut_off_anywhere_loses_and_doubles_nothing(
    desk: Desk, kind: DeclarationKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is cut off before or after any call of AWS, and started again, leaves one change, one mail and the
    declaration's state."""
    desk.declare(kind)
    copies = desk.shop.copies()
    n = 0
    while True:
        shop = copies()
        monkeypatch.setattr(aws, "dynamodb", lambda shop=shop: shop.dynamodb)
        for name in ("_deciding", "_declarations"):
            getattr(worker, name).cache_clear()
        desk.shop = shop
        shop.cuts.calls.clear()
        shop.cuts.at = n
        try:
            desk.deliver(*desk.records)
        except Cut:
            desk.deliver(*desk.records)
        else:
            break
        changes = [each["what"] for each in shop.dynamodb.items("changes").values()]
        assert changes == [{"cancellation": "ending", "withdrawal": "withdrawal_declared"}[kind]], n
        assert desk.records[0]["state"] == {"cancellation": "effective", "withdrawal": "for_a_person"}[kind], n
        assert len(desk.mail()) == 1
        n += 1
    assert n > 5


def test_trouble_of_aws_is_tried_again_and_no_fault_holds_up_later_declarations(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If AWS falters, the run fails and Lambda starts another. A declaration that no run can decide waits for a person,
    and the later declarations are looked at."""
    desk.declare()
    desk.shop.dynamodb.trouble.append(EndpointConnectionError(endpoint_url="https://dynamodb"))
    with pytest.raises(EndpointConnectionError):
        desk.deliver(*desk.records)
    desk.declare(name="Second")
    real = declarations.fitting

    def fitting(declaration: Declaration, *rest: Any) -> Any:
        if declaration.name == "Ann Lee":
            raise TypeError("planted")
        return real(declaration, *rest)

    monkeypatch.setattr(declarations, "fitting", fitting)
    desk.deliver(*desk.records)
    assert [(each["state"], each.get("why")) for each in desk.records] == [
        ("for_a_person", "unreadable"),
        ("effective", None),
    ]


@pytest.mark.parametrize(
    "trouble",
    [
        Throttled("busy"),
        Collision("busy"),
        TryAgain("busy"),
        NotHandedOver("busy"),
        MissingSetting("CHANGES_TABLE"),
        BadSetting("TIME_ZONE", "is wrong"),
    ],
)
def test_an_error_of_the_moment_or_of_the_deployment_decides_nothing(
    desk: Desk, trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error against which a further run may help fails the run, and leaves the declaration as it is for the next."""
    desk.declare()
    with monkeypatch.context() as patch:
        patch.setattr(declarations, "fitting", lambda *_: (_ for _ in ()).throw(trouble))
        with pytest.raises(type(trouble)):
            desk.deliver(*desk.records)
    assert desk.records[0]["state"] == "new"
    desk.deliver(*desk.records)
    assert desk.records[0]["state"] == "effective"


@pytest.mark.parametrize("attributes", [{"amount": "nonsense"}, {"currency": "ZZZ"}, {"plan": 7}])
def test_a_row_that_no_mail_can_be_written_of_is_not_ended(desk: Desk, attributes: dict[str, Any]) -> None:
    """The mail about the end could not be written of a row that cannot be read: a person looks at the declaration."""
    desk.shop.edit(**attributes)
    told = desk.declared()
    assert (told["state"], told["why"]) == ("for_a_person", "unreadable")
    assert "cancel_at" not in desk.shop.row()


def test_where_not_all_changes_can_be_read_a_person_decides(desk: Desk) -> None:
    """If a subscription has more changes than are read, an earlier resumption may be out of sight: nothing ends by
    itself."""
    changes = desk.shop.register.changes
    for n in range(251):
        asked = AskedBy("the shop", NOON - (n + 2) * DAY)
        changes.note("sub_1", ChangeKind.EDITED, asked)
    assert not changes.readable("sub_1")[2]
    assert desk.declared()["why"] == "taken_back"
    assert "cancel_at" not in desk.shop.row()


def test_the_metrics_of_a_declaration_are_written_before_its_mark(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed in its second declaration has written the metrics of the first: the alarm comes on."""
    written = list[str]()

    def flush() -> None:
        written.extend(desk.visitor.counted)
        desk.visitor.counted.clear()

    monkeypatch.setattr(telemetry, "flush", flush)
    for name in ("First", "Second"):
        desk.declare("withdrawal", name=name)
    marked = Declarations.mark

    def mark(table: Declarations, each: Recorded, *rest: Any) -> None:
        assert written[-2:] == ["DeclarationsLookedAt", "DeclarationsForPerson"]
        assert desk.visitor.counted == []
        marked(table, each, *rest)

    monkeypatch.setattr(Declarations, "mark", mark)
    desk.work()
    assert len(written) == 4


def test_what_the_stream_has_forgotten_is_looked_at_daily_and_what_waits_is_counted_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daily run looks at the declarations that nobody has looked at for an hour, leaves younger ones to the stream,
    and counts those that wait for a person every day until a person has dealt with them."""
    counted = list[tuple[str, int]]()
    monkeypatch.setattr(telemetry, "count", lambda name, by=1: counted.append((name, by)))

    def current() -> Moment:
        return clock.moment(desk.visitor.now, "prod", desk.shop.zone)

    monkeypatch.setattr(clock, "current", current)
    desk.declared("withdrawal")
    desk.declare(name="missed")
    desk.visitor.now += timedelta(hours=2)
    desk.declare(name="young")
    desk.shop.dynamodb.put("declarations", {"declaration": "by hand", "state": "new"})
    counted.clear()
    assert worker.handler({"declarations": "open"}, None) == {"looked_at": 1}
    assert counted == [("DeclarationsForPerson", 2), ("DeclarationsLookedAt", 1)]
    states = {
        each["name"]: each["state"] for each in desk.shop.dynamodb.items("declarations").values() if "name" in each
    }
    assert states == {"Ann Lee": "for_a_person", "missed": "effective", "young": "new"}
    client: Any = desk.shop.dynamodb
    table = Declarations(client, "declarations")
    for each in list(table.open()):
        if isinstance(each, Recorded) and each.state is DeclarationState.FOR_A_PERSON:
            table.mark(each, DeclarationState.DONE)
    key = next(key for key, each in desk.shop.dynamodb.items("declarations").items() if "name" not in each)
    desk.shop.dynamodb.delete("declarations", key)
    counted.clear()
    assert worker.handler({"declarations": "open"}, None) == {"looked_at": 0}
    assert counted == []


@pytest.mark.parametrize("is_erased", [False, True])
def test_what_a_person_has_dealt_with_meanwhile_ends_nothing(
    desk: Desk, is_erased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person marks the declaration as done, or erases the declaration, while DeclarationWorker looks at it: the
    subscription is not ended, and the run succeeds."""
    desk.declare()
    real = declarations.fitting

    def fitting(*rest: Any) -> Any:
        key = next(iter(desk.shop.dynamodb.items("declarations")), None)
        if is_erased and key is not None:
            desk.shop.dynamodb.delete("declarations", key)
        elif not is_erased:
            desk.shop.dynamodb.put("declarations", desk.records[0] | {"state": "done"})
        return real(*rest)

    monkeypatch.setattr(declarations, "fitting", fitting)
    desk.work()
    assert "cancel_at" not in desk.shop.row()
    assert [each["state"] for each in desk.records] == ([] if is_erased else ["done"])
    assert desk.mail() == []


@pytest.mark.parametrize("trouble", [KeyError("status"), error("InternalServerError", "Query")])
def test_a_change_that_stands_is_told_although_the_work_is_not_handed_over(
    desk: Desk, trouble: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the ledger cannot be read after the end is written, the end stands: the declaration is effective, and the
    customer page confirms a cancellation. The next sweep finds the work."""
    monkeypatch.setattr(customer_changes, "hand_over_work", lambda *_: (_ for _ in ()).throw(trouble))
    assert desk.declared()["state"] == "effective"
    assert desk.shop.row()["cancel_at"] == "2026-02-28"
    desk.shop.edit(cancel_at="2026-09-30")
    desk.visitor.sign_in()
    assert desk.visitor.press("cancel").status == 303
    assert desk.shop.row()["cancel_at"] == "2026-02-28"


def test_only_the_open_declarations_are_listed_and_a_person_marks_them_done(desk: Desk) -> None:
    """The list of open declarations has what waits for a person and what was not looked at yet. An item that somebody
    wrote by hand is named, and holds nothing up."""
    desk.declared()
    desk.declared("withdrawal")
    desk.declare(name="not looked at")
    client: Any = desk.shop.dynamodb
    table = Declarations(client, "declarations")
    desk.shop.dynamodb.put("declarations", {"declaration": "by hand", "state": "new"})
    desk.deliver({"declaration": "by hand"})
    found = list(table.open())
    assert [each for each in found if isinstance(each, str)] == ["by hand"]
    waiting = {each.declaration.name: each for each in found if not isinstance(each, str)}
    assert {name: each.state for name, each in waiting.items()} == {
        "Ann Lee": DeclarationState.FOR_A_PERSON,
        "not looked at": DeclarationState.NEW,
    }
    table.mark(waiting["Ann Lee"], DeclarationState.DONE)
    assert [each.declaration.name for each in table.open() if not isinstance(each, str)] == ["not looked at"]


def test_the_command_lists_the_open_declarations_and_marks_one_done(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`oncall declarations` shows the typed words, why each declaration waits and which subscription it fits, without a
    control character; `declaration-done` closes one, and refuses a number that is not open."""
    monkeypatch.setattr(boto3, "Session", lambda: Account(desk.shop))
    desk.declared(way="extraordinary", reason="No \x1b[31mservice", wished="2026-02-10")
    desk.declared("withdrawal", address="eve@else.example")
    desk.declare(name="Not Yet")
    first, second, third = (each["number"] for each in desk.records)
    told = CliRunner().invoke(main, ["declarations"])
    assert told.exit_code == 1
    for said in (
        f"{first}, cancellation, received 2026-01-31 12:00:01 UTC",
        f"Ann Lee <{ANN}>, contract: sub_1",
        "extraordinary, to end 2026-02-10, because: No [31mservice",
        "a person decides about the important reason (fits sub_1)",
        f"{second}, withdrawal",
        "no subscription, or more than one, fits the mail address and the contract",
        "Not Yet",
        "not looked at yet",
        "3 open declarations.",
    ):
        assert said in told.output, said
    for number in (first, second, third):
        assert CliRunner().invoke(main, ["declaration-done", number]).output == f"done: {number}\n"
    assert "There is no open declaration" in CliRunner().invoke(main, ["declaration-done", first]).output
    told = CliRunner().invoke(main, ["declarations"])
    assert (told.output, told.exit_code) == ("0 open declarations.\n", 0)


def test_a_flood_buries_no_declaration_that_fits(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever fills the forms with made-up words pushes no true declaration out of sight: the declarations that fit no
    subscription are listed last, and one command marks those of one day as done. Declarations of another day, those
    that fit, and those that nobody has looked at stay open."""
    monkeypatch.setattr(boto3, "Session", lambda: Account(desk.shop))
    for n in range(3):
        desk.declared(name=f"Eve {n}", address="eve@else.example")
    desk.declared("withdrawal")
    desk.declare(name="Not Yet", contract="Nonsense")
    desk.heard.add(desk.records[-1]["declaration"])
    desk.visitor.now += DAY
    desk.declared(name="Of the next day", address="eve@else.example")
    told = CliRunner().invoke(main, ["declarations"]).output
    names = re.findall(r"^    (.+?) <", told, re.MULTILINE)
    assert names == ["Ann Lee", "Not Yet", "Eve 0", "Eve 1", "Eve 2", "Of the next day"]
    marked = CliRunner().invoke(main, ["declarations-done", "2026-01-31"])
    assert (marked.output, marked.exit_code) == ("done: 3 declarations without a subscription\n", 0)
    told = CliRunner().invoke(main, ["declarations"]).output
    assert re.findall(r"^    (.+?) <", told, re.MULTILINE) == ["Ann Lee", "Not Yet", "Of the next day"]


def test_without_the_index_on_addresses_a_declaration_must_name_the_id(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack without the index takes a cancellation by the subscription's id, and leaves every other to a person."""
    monkeypatch.setenv("MAIL_ADDRESS_INDEX", "absent")
    assert desk.declared(contract="Pro")["why"] == "no_fit"
    assert desk.declared(contract="sub_1")["state"] == "effective"


def test_a_subscription_of_two_customers_waits_for_a_person(desk: Desk) -> None:
    """Of an id that two customers have by mistake, nothing is ended by itself."""
    desk.shop.subscribe(customer_id="cus_2", renewal_date="2026-02-28")
    assert desk.declared()["why"] == "no_fit"


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_forms_speak_every_language(desk: Desk, tag: str) -> None:
    """Each language has its own words on the form, and the answer names the number and the typed words."""
    shown = desk.visitor.get("cancellation", Accept_Language=tag)
    assert f'lang="{tag}"' in shown.html
    done = desk.visitor.post("cancellation", shown.fields | FORM, Accept_Language=tag)
    assert f'lang="{tag}"' in done.html
    number = desk.records[-1]["number"]
    assert f"<bdi>{number}</bdi>" in done.html
    assert "<bdi>Ann Lee</bdi>" in done.html
    [saved] = re.findall(r'href="data:text/plain;charset=utf-8,([^"]*)"', done.html)
    assert number in unquote(saved)


def test_the_timeline_names_the_declaration(desk: Desk) -> None:
    """The subscription's timeline says which declaration has ended the subscription, and which waits for a person."""
    first, second = desk.declared(), desk.declared("withdrawal")
    entries, _ = desk.shop.register.timeline(desk.shop.row(), desk.shop.zone)
    told = [each.text for each in entries]
    assert any(f"(declaration {first['number']})" in each and each.startswith("customer canceled") for each in told)
    assert any(each.startswith("somebody sent a withdrawal") and second["number"] in each for each in told)


def test_numbers_tell_their_moment() -> None:
    """A number names its moment, and texts of another form name none."""
    number = declaration_numbers.made("C", NOON, "abcdef0123")
    assert declaration_numbers.declared_at(number) == NOON
    assert declaration_numbers.number_of(f"cause/{number}") == number
    for other in ("", "C20261331-120000-ABCDEF01", f"{number}0", "seti_1", f"X{number[1:]}"):
        assert declaration_numbers.declared_at(other) is None
        assert declaration_numbers.number_of(f"cause/{other}") is None
    assert declaration_numbers.number_of(number) is None
