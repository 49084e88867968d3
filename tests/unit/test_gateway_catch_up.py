"""The nightly catch-up finds the events that never arrived, and puts the same hints on the queue as the gateway's
door."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from gateway_catch_up import marks
from gateway_catch_up.app import FIRST_NIGHT
from gateway_catch_up.catch_up import MOST_PAGES
from gateway_catch_up.searches import OVERLAP, plan
from renewals.domain import refunds
from renewals.domain.errors import BadEvent
from renewals.domain.gateway_event import GatewayEventType
from renewals.domain.transitions import Action
from renewals.gateway.port import MOST_EVENT_TYPES, EventSearch, FoundEvents, GatewayRefused, GatewayUnavailable
from tests.door import Door, forget_secrets
from tests.fake_aws import error
from tests.fakes import NOON, Cut, World
from tests.unit import test_dispute_events
from tests.unit.test_dispute_events import STORIES as DISPUTES
from tests.unit.test_gateway_worker import STORIES, _end, _live
from tests.unit.test_refund_events import STORIES as REFUNDS

HOUR, DAY, SECOND = timedelta(hours=1), timedelta(days=1), timedelta(seconds=1)


@pytest.fixture
def door(shop: World) -> Iterator[Door]:
    forget_secrets()
    yield Door(shop)
    forget_secrets()


def emit(door: Door, kind: str, number: int = 1, at: datetime = NOON, *, pending: int = 1, **metadata: str) -> str:
    """Let the gateway emit an event about a payment or another object; return the event's id."""
    about = {"id": f"obj_{number}", "object": "thing", "metadata": metadata, "receipt_email": "ann@private.example"}
    event: dict[str, Any] = {"id": f"evt_{number}", "object": "event", "type": kind, "livemode": False}
    created = {"created": int(at.timestamp()), "pending_webhooks": pending}
    door.world.gateway.events.append(event | created | {"data": {"object": about}})
    return f"evt_{number}"


def queued(door: Door) -> list[str]:
    """Return the ids of the events on the queue, and empty the queue."""
    ids = [json.loads(body)["event"] for body in door.queue.bodies]
    door.queue.bodies = []
    return ids


# --- what never arrived ends as what arrived ------------------------------------------------------------------------


@pytest.mark.parametrize("story", STORIES)
def test_events_that_never_arrived_end_in_the_same_state(door: Door, story: str) -> None:
    """No event of a story is delivered. The catch-up of the next night finds the events, and the story ends with the
    same status, mails, charges and a clean audit as with events."""
    told = STORIES[story]
    door.world.subscribe(payment_method=told.card)
    told.begins(door)
    told.happens(door)
    door.later(18 * HOUR)
    assert [each["finished"] for each in door.catch_up()] == [True]
    door.work()
    by_event = dict(door.world.items())
    if told.status == "done" and "another card" not in story:
        assert by_event["2026-01-31"]["status"] == "done"  # at night, and not on the next dunning date
    _live(door, 8)
    status, mails, charges, differences = _end(door)
    assert (status, mails, charges) == (told.status, told.mails, 1 if told.status == "done" else 0)
    assert (sum(differences.values()), door.queue.dead) == (0, [])


@pytest.mark.parametrize("story", REFUNDS)
def test_refunds_whose_events_never_arrived_end_in_the_same_state(door: Door, story: str) -> None:
    """No event of a refund is delivered. The catch-up of the next night, which also runs twice, has the refund recorded
    and told once, before the audit looks at refunds."""
    told = REFUNDS[story]
    door.world.subscribe()
    for step in told.steps:
        door.later(timedelta(minutes=1))
        step(door)
    door.later(18 * HOUR)
    for _ in range(2):
        door.catch_up()
        door.work()
        door.later(HOUR)
    period = door.world.ledger.get("sub_1", "2026-01-31")
    assert period is not None
    state, mails = told.late
    assert [each["state"] for each in period.refunds.values()] == ([state] if state else [])
    assert (f"{refunds.left(period)}", door.world.mail_kinds()) == (told.left, ["receipt", *mails])
    assert (len(door.world.gateway.charges), door.queue.dead) == (1, [])


@pytest.mark.parametrize("story", DISPUTES)
def test_disputes_whose_events_never_arrived_end_in_the_same_state(door: Door, story: str) -> None:
    """No event of a dispute is delivered. The catch-up of the next night, which also runs twice, has the dispute
    recorded and the subscription ended as with events."""
    told = DISPUTES[story]
    test_dispute_events._paid(door)
    for step in told.steps:
        step(door)
    door.later(18 * HOUR)
    for _ in range(2):
        door.catch_up()
        door.work()
    assert test_dispute_events._end(door) == test_dispute_events._right(told)
    assert (door.queue.waiting, door.queue.dead) == (0, [])


def test_a_subscription_resumed_after_a_dispute_is_not_ended_by_the_catch_up(door: Door) -> None:
    """The events of a dispute were delivered, and somebody has resumed the subscription. The catch-ups of the following
    nights find the same events, which are known, and the subscription goes on."""
    test_dispute_events._paid(door)
    test_dispute_events._contest()(door)
    test_dispute_events._deliver(door, *door.world.gateway.events)
    door.later(HOUR)
    test_dispute_events._act(door, Action.RESUME)
    before = door.world.row(), door.world.items()
    for _ in range(3):
        door.later(8 * HOUR)
        door.catch_up()
        door.work()
        assert (door.world.row(), door.world.items()) == before
    assert (door.ran, door.queue.dead) == ([], [])


@pytest.mark.parametrize("story", STORIES)
def test_a_catch_up_after_the_delivery_changes_nothing(door: Door, story: str) -> None:
    """Every event of a story has arrived. The catch-up, twice, runs no workflow, writes nothing in the ledger, and
    mails nobody."""
    told = STORIES[story]
    door.world.subscribe(payment_method=told.card)
    told.begins(door)
    told.happens(door)
    for event in door.world.gateway.events:
        assert door.post(event) == 200
    door.work()
    door.later(18 * HOUR)
    before = door.world.items(), door.world.row(), door.world.mail_kinds(), list(door.ran)
    for _ in range(2):
        door.catch_up()
        door.work()
        assert (door.world.items(), door.world.row(), door.world.mail_kinds(), door.ran) == before


@pytest.mark.parametrize("kind", GatewayEventType)
def test_a_lost_event_of_each_type_is_found(door: Door, kind: GatewayEventType) -> None:
    """Of each type on which this system acts, without a further list, an event that never arrived is found, and the
    message is the same as from the gateway's door."""
    emit(door, kind, deployment="shop-prod", subscription_id="sub_1", renewal_date="2026-01-31")
    door.catch_up()
    [found] = door.queue.bodies
    door.queue.bodies = []
    assert door.post(door.world.gateway.events[0]) == 200
    [posted] = door.queue.bodies
    assert found == posted


@pytest.mark.parametrize("kind", GatewayEventType)
def test_delivered_events_are_searched_only_where_they_are_few(door: Door, kind: GatewayEventType) -> None:
    """Each renewal causes an event about a payment: such an event is found only if no endpoint has taken the event.
    Events of every other type are found in any case, because an endpoint other than ours may have taken the event."""
    emit(door, kind, pending=0)
    door.catch_up()
    assert len(queued(door)) == (0 if kind.startswith("payment_intent.") else 1)


def test_an_event_of_another_deployment_or_type_is_left_alone(door: Door) -> None:
    """The account's events of a different deployment and of types that this system ignores do not reach the queue."""
    emit(door, "payment_intent.succeeded", 1, deployment="other-prod")
    emit(door, "invoice.paid", 2)
    ours = emit(door, "payment_intent.succeeded", 3, deployment="shop-prod")
    earlier = emit(door, "payment_intent.succeeded", 4)  # a payment of an earlier version names no deployment
    door.catch_up()
    assert queued(door) == [earlier, ours]


# --- since when -------------------------------------------------------------------------------------------------------


def test_a_night_goes_on_where_the_last_good_night_ended(door: Door) -> None:
    """A catch-up begins an hour before the last complete catch-up: an event that the gateway listed late is found, and
    an older event is not looked at again."""
    door.now = NOON + 10 * DAY
    door.catch_up()
    emit(door, "payment_intent.succeeded", 1, NOON + 10 * DAY - HOUR - SECOND)
    late = emit(door, "payment_intent.succeeded", 2, NOON + 10 * DAY - HOUR)
    new = emit(door, "payment_intent.succeeded", 3, NOON + 10 * DAY + HOUR)
    door.now += DAY
    door.catch_up()
    assert queued(door) == [new, late]


def test_nights_that_failed_are_made_up_for(door: Door) -> None:
    """For a week no catch-up comes to its end. The next good night finds the events of the whole week."""
    door.catch_up()
    lost = [emit(door, "payment_intent.succeeded", n, NOON + n * DAY + HOUR) for n in range(7)]
    door.world.gateway.unanswered_types = set(GatewayEventType)
    for _ in range(6):
        door.now += DAY
        with pytest.raises(GatewayUnavailable):
            door.catch_up()
    door.world.gateway.unanswered_types = set()
    door.now += 2 * DAY
    door.catch_up()
    assert queued(door) == lost[::-1]


@pytest.mark.parametrize("fault", ["the gateway rejects the key", "the gateway is down", "the secret cannot be read"])
def test_the_first_nights_that_failed_are_made_up_for(door: Door, fault: str) -> None:
    """No night of a new stack was a good night yet. The first good night finds the events since a day before the first
    night, however many nights failed."""
    lost = [emit(door, "charge.dispute.created", n, NOON - DAY + n * DAY + HOUR) for n in range(5)]
    for _ in range(4):
        with suppress(GatewayUnavailable, ClientError):
            if fault == "the gateway rejects the key":
                door.world.gateway.turned_away = {"find_events"}
            elif fault == "the gateway is down":
                door.world.gateway.unanswered_types = set(GatewayEventType)
            else:
                door.no_gateway = True
            door.catch_up()
        door.world.gateway.turned_away, door.world.gateway.unanswered_types, door.no_gateway = set(), set(), False
        door.now += DAY
    assert queued(door) == []
    door.catch_up()
    assert queued(door) == lost[::-1]


def test_a_new_type_begins_a_day_before_its_first_night(door: Door) -> None:
    """The nights after an upgrade fail, and the stack has marks of all types but one: the new type keeps its beginning,
    too."""
    door.catch_up()
    stored = json.loads(door.world.s3.objects[marks.KEY]["Body"])
    del stored[GatewayEventType.CARD_DETACHED]
    door.world.s3.objects[marks.KEY] = {"Body": json.dumps(stored).encode()}
    door.now = NOON + 3 * DAY
    lost = emit(door, GatewayEventType.CARD_DETACHED, 1, NOON + 2 * DAY + HOUR)
    for _ in range(3):
        door.world.gateway.trouble.append(("find_events", "before"))
        with pytest.raises(GatewayUnavailable):
            door.catch_up()
        door.now += DAY
    door.catch_up()
    assert queued(door) == [lost]


def test_the_first_night_reaches_back_a_day(door: Door) -> None:
    """A stack without a mark begins a day back, and does not tell thirty days of history."""
    emit(door, "payment_intent.succeeded", 1, NOON - FIRST_NIGHT - OVERLAP - SECOND)
    found = emit(door, "payment_intent.succeeded", 2, NOON - FIRST_NIGHT)
    door.catch_up()
    assert queued(door) == [found]


def test_each_type_has_a_mark_of_its_own(door: Door) -> None:
    """A type that is new in this version begins with its first night, whatever the marks of the other types, and the
    mark of a type that only a newer version knows stays."""
    door.now = NOON + 5 * DAY
    known, new = GatewayEventType.PAYMENT_SUCCEEDED, GatewayEventType.PAYMENT_FAILED
    stored = {known.value: (NOON + DAY).isoformat(), "refund.approved": NOON.isoformat()}
    door.world.s3.objects[marks.KEY] = {"Body": json.dumps(stored).encode()}
    a = emit(door, known, 1, NOON + 2 * DAY)
    emit(door, new, 2, NOON + 2 * DAY)
    b = emit(door, new, 3, NOON + 4 * DAY)
    door.catch_up()
    assert queued(door) == [a, b]
    kept = json.loads(door.world.s3.objects[marks.KEY]["Body"])
    assert kept == dict.fromkeys(GatewayEventType, door.now.isoformat()) | {"refund.approved": NOON.isoformat()}


def test_a_catch_up_by_hand_begins_earlier_and_never_later(door: Door) -> None:
    """A person names a day: the search begins on the day or where the last good night ended, whichever is earlier, so
    that no night is skipped."""
    door.now = NOON + 5 * DAY
    door.catch_up()
    old = emit(door, "payment_intent.succeeded", 1, NOON)
    door.now += DAY
    door.catch_up({"from": "2026-01-31"})
    assert queued(door) == [old]
    new = emit(door, "payment_intent.succeeded", 2, NOON + 6 * DAY)
    door.now += 3 * DAY
    door.catch_up({"from": f"{door.now:%Y-%m-%d}"})
    assert queued(door) == [new]


def test_a_run_that_ends_late_moves_no_mark_back(door: Door) -> None:
    """A run that was started twice ends after the next night: the marks of the later night stay."""
    first = plan(dict.fromkeys(GatewayEventType, NOON), NOON)
    door.now += DAY
    door.catch_up()
    later = door.world.s3.objects[marks.KEY]["Body"]
    door.catch_up({"left": [each.to_json() for each in first]})
    assert door.world.s3.objects[marks.KEY]["Body"] == later


@pytest.mark.parametrize("event", [{"from": "yesterday"}, {"from": 1}, {"left": {}}, {"left": [1]}, {"left": [{}]}])
def test_a_faulty_request_is_refused(door: Door, event: dict[str, Any]) -> None:
    """A request without a readable day, or with a rest that is none, is refused."""
    with pytest.raises(BadEvent, match=r"^GatewayCatchUp: "):
        door.catch_up(event)


# --- many events, and failures ----------------------------------------------------------------------------------------


def test_more_events_than_a_run_can_read_are_handed_on(door: Door) -> None:
    """A run reads a bounded number of pages, and hands the rest on to a further run: every event is found once, and the
    marks move only at the end."""
    gateway = door.world.gateway
    gateway.events_on_a_page = 3
    numbers = range(3 * MOST_PAGES + 7)
    for number in numbers:
        emit(door, "payment_intent.succeeded", number, NOON)
    replies = door.catch_up()
    assert [each["finished"] for each in replies] == [False, True]
    assert replies[0]["found"] <= 3 * MOST_PAGES
    assert queued(door) == [f"evt_{number}" for number in reversed(numbers)]


def test_a_run_with_little_time_hands_the_rest_on(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that will soon be ended reads one page, so that a chain of runs ends, and hands the rest on; the further
    runs find every event."""
    door.world.gateway.events_on_a_page = 1
    lost = [emit(door, "payment_intent.succeeded", n) for n in range(3)]
    monkeypatch.setattr(Door, "seconds_left", lambda _: 30)
    replies = door.catch_up()
    assert [each["finished"] for each in replies] == [False] * (len(replies) - 1) + [True]
    assert max(each["found"] for each in replies) == 1
    assert queued(door) == lost[::-1]


def test_a_large_catch_up_does_not_hold_new_events_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of events were lost, and each of their hints causes a run of the workflow, of which the worker makes
    two at a time. A new event that arrives meanwhile is acted on within five minutes, and the catch-up finds every
    lost event."""
    lost = [emit(door, "payment_intent.succeeded", n) for n in range(3000)]
    acted_on, longest, seconds = list[str](), 0, 0.0

    def pause(_: Door, passed: float) -> None:
        nonlocal longest, seconds
        longest = max(longest, door.queue.waiting)
        bodies = door.queue.bodies
        before, seconds = seconds, seconds + passed
        done = int(2 * seconds / 4) - int(2 * before / 4)
        acted_on.extend(json.loads(body)["event"] for body in bodies[:done])
        door.queue.bodies = bodies[done:]

    monkeypatch.setattr(Door, "pause", pause)
    assert door.catch_up()[-1]["finished"]
    longest = max(longest, door.queue.waiting)
    assert acted_on + queued(door) == lost[::-1]
    assert longest / 2 * 4 <= 5 * 60


def test_a_worker_that_stands_still_does_not_stop_the_catch_up(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes messages from the queue: the catch-up waits for five minutes before each page, and puts every
    hint on the queue all the same."""
    lost = [emit(door, "payment_intent.succeeded", n) for n in range(250)]
    pauses: list[float] = []
    monkeypatch.setattr(Door, "pause", lambda _, seconds: pauses.append(seconds))
    assert door.catch_up()[-1]["finished"]
    assert (queued(door), sum(pauses)) == (lost[::-1], 2 * 300)


def test_a_place_in_the_list_that_is_lost_is_found_again(door: Door) -> None:
    """Between two pages an endpoint takes the event at which the next page begins. The list ends there, and the search
    begins again at the moment of the event: no older event is passed over."""
    gateway = door.world.gateway
    gateway.events_on_a_page = 2
    lost = [emit(door, "payment_intent.succeeded", n, NOON + n * SECOND) for n in range(6)]
    find, taken = gateway.find_events, set[str]()

    def find_and_take(search: EventSearch) -> FoundEvents:
        page = find(search)
        if page.after is not None and not taken:
            taken.add(page.after)
            next(each for each in gateway.events if each["id"] == page.after)["pending_webhooks"] = 0
        return page

    gateway.find_events = find_and_take  # type: ignore[method-assign]
    door.catch_up()
    assert (queued(door), taken) == (lost[::-1], {lost[4]})


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_run_that_is_cut_off_loses_nothing(door: Door, monkeypatch: pytest.MonkeyPatch, goes_on: bool) -> None:
    """The process ends before or after each of its calls, the hand-on of the further pages among them. The run of the
    next night finds every event, whether or not the further run that Lambda has taken goes on before."""
    monkeypatch.setattr(Door, "seconds_left", lambda _: 30)  # each run reads a page, and hands the rest on
    lost = {emit(door, "payment_intent.succeeded", n, NOON - 2 * HOUR) for n in range(15)}
    door.world.gateway.events_on_a_page = 6
    stored = json.dumps(dict.fromkeys(GatewayEventType, (NOON - DAY).isoformat())).encode()
    door.world.s3.objects[marks.KEY] = {"Body": stored}
    door.queue.around = door.world.cuts.around
    calls = door.world.cuts.calls
    door.catch_up()
    of_a_run, was_cut = list(calls), 0
    assert set(of_a_run) == {
        "gateway.find_events",
        "lambda.Invoke",
        "sqs.GetQueueAttributes",
        "sqs.SendMessageBatch",
        "s3.GetObject",
        "s3.PutObject",
    }
    for point in range(2 * len(of_a_run)):
        queued(door)
        door.world.s3.objects[marks.KEY] = {"Body": stored}
        door.now = NOON
        door.world.cuts.at = 2 * len(calls) + point
        try:
            door.catch_up()
        except Cut:
            was_cut += 1
        for event in [*door.handed_on] if goes_on else []:
            door.catch_up(event)
        door.now = NOON + DAY
        door.catch_up()
        assert set(queued(door)) == lost
    assert was_cut == 2 * len(of_a_run)


def test_a_queue_that_fails_moves_no_mark(door: Door) -> None:
    """SQS refuses a batch: the run fails, and the next run finds all events again."""
    lost = [emit(door, "payment_intent.succeeded", n) for n in range(3)]

    @contextmanager
    def fails(_: str) -> Iterator[None]:
        raise error("ServiceUnavailable", "SendMessageBatch", status=503)
        yield

    before, door.queue.around = door.queue.around, fails
    with pytest.raises(ClientError):
        door.catch_up()
    stored = json.loads(door.world.s3.objects[marks.KEY]["Body"])
    assert stored["payment_intent.succeeded"] == (NOON - FIRST_NIGHT).isoformat()
    door.queue.around = before
    door.catch_up()
    assert queued(door) == lost[::-1]


def test_a_night_without_the_gateway_is_no_good_night(door: Door, capsys: pytest.CaptureFixture[str]) -> None:
    """The gateway rejects our key: the account's fault is counted, the catch-up is not counted, and no mark moves.
    After the key is mended the same events are found."""
    lost = emit(door, "payment_intent.succeeded")
    door.world.gateway.turned_away = {"find_events"}
    assert door.catch_up() == [{"finished": False, "found": 0}]
    told = capsys.readouterr().out
    assert ('"GatewayAccountFault":[1.0]' in told, '"GatewayCatchUps"' in told) == (True, False)
    door.world.gateway.turned_away = set()
    assert door.catch_up() == [{"finished": True, "found": 1}]
    assert '"GatewayCatchUps":[1.0]' in capsys.readouterr().out
    assert queued(door) == [lost]


@pytest.mark.parametrize("pages", ["one page", "many runs"])
def test_a_missing_permission_stops_no_other_type(
    door: Door, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, pages: str
) -> None:
    """The key may not read disputes: the alarm for a missing permission hears of the lack, the events of all other
    types are found, and the night does not count as complete. The first night with the permission finds the events of
    disputes since the last complete search for disputes."""
    if pages == "many runs":
        door.world.gateway.events_on_a_page = 1
        monkeypatch.setattr(Door, "seconds_left", lambda _: 30)
    contested = emit(door, "charge.dispute.created", 1)
    others = {
        emit(door, kind, n, NOON - 2 * HOUR)
        for n, kind in enumerate(
            ("payment_intent.succeeded", "refund.created", "refund.failed", "payment_method.detached"), 2
        )
    }
    door.world.gateway.forbidden = {"charge.dispute"}
    replies = door.catch_up()
    told = capsys.readouterr().out
    assert '"GatewayPermissionMissing":[' in told
    assert not any(f'"{metric}"' in told for metric in ("GatewayAccountFault", "GatewayCatchUps"))
    assert (replies[-1]["finished"], set(queued(door))) == (False, others)
    stored = json.loads(door.world.s3.objects[marks.KEY]["Body"])
    began, caught_up = (NOON - FIRST_NIGHT).isoformat(), NOON.isoformat()
    assert {kind for kind, mark in stored.items() if mark == began} == {
        each for each in GatewayEventType if each.startswith("charge.dispute")
    }
    assert stored["refund.created"] == caught_up
    door.world.gateway.forbidden = set()
    door.now += 3 * DAY
    assert door.catch_up()[-1]["finished"]
    assert queued(door) == [contested]
    assert '"GatewayCatchUps":[1.0]' in capsys.readouterr().out


@pytest.mark.parametrize("pages", ["one page", "many runs"])
@pytest.mark.parametrize("answer", ["400", "500"])
def test_a_search_that_fails_stops_no_other_search(
    door: Door, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: str, pages: str
) -> None:
    """The gateway answers the search for disputes with an error every night. The events of all other types are found;
    each try of Lambda fails, so that the alarm for errors comes on; and no night is counted. The first night with an
    answer finds the events of disputes since the last good night."""
    gateway = door.world.gateway
    if pages == "many runs":
        gateway.events_on_a_page = 1
        monkeypatch.setattr("gateway_catch_up.catch_up.MOST_PAGES", 2)
    contested = emit(door, "charge.dispute.created", 1)
    kinds = ("payment_intent.succeeded", "refund.created", "refund.failed", "payment_method.detached")
    others = {emit(door, kind, n, NOON - 2 * HOUR) for n, kind in enumerate(kinds, 2)}
    failing = gateway.unknown_types if answer == "400" else gateway.unanswered_types
    failing.add("charge.dispute.created")
    for _ in range(3):
        with pytest.raises(GatewayRefused if answer == "400" else GatewayUnavailable):
            door.catch_up()
    assert set(queued(door)) == others
    stored = json.loads(door.world.s3.objects[marks.KEY]["Body"])
    assert stored["charge.dispute.created"] == (NOON - FIRST_NIGHT).isoformat()
    assert stored["refund.created"] == NOON.isoformat()
    assert '"GatewayCatchUps"' not in capsys.readouterr().out
    failing.clear()
    door.now += 3 * DAY
    assert door.catch_up()[-1]["finished"]
    assert queued(door) == [contested]
    assert '"GatewayCatchUps":[1.0]' in capsys.readouterr().out


def test_runs_with_little_time_end_although_searches_fail(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run has little time, and the gateway refuses two searches: the chain of runs ends, with the error."""
    monkeypatch.setattr(Door, "seconds_left", lambda _: 30)
    door.world.gateway.unknown_types = {"charge.dispute.created", "refund.created"}
    door.world.gateway.forbidden = {"payment_method"}
    lost = emit(door, "payment_intent.succeeded")
    with pytest.raises(GatewayRefused):
        door.catch_up()
    assert queued(door) == [lost]


def test_a_gap_of_more_than_thirty_days_is_told(
    door: Door, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No catch-up was complete for longer than the gateway lists events: the log says that events are lost, and the
    catch-up is not counted. The next night is counted."""
    door.catch_up()
    capsys.readouterr()
    told = []
    for days in (31, 1):
        door.now += days * DAY
        caplog.clear()
        door.catch_up()
        told.append(("events are lost" in caplog.messages, '"GatewayCatchUps"' in capsys.readouterr().out))
    assert told == [(True, False), (False, True)]


def test_a_search_names_no_more_types_than_the_gateway_takes() -> None:
    """Types with equal marks are searched together, at most twenty in one search."""
    every = plan(dict.fromkeys(GatewayEventType, NOON), NOON)
    assert {type_ for search in every for type_ in search.types} == set(GatewayEventType)
    assert all(len(search.types) <= MOST_EVENT_TYPES for search in every)
    assert all(len({type_.is_of_each_renewal for type_ in search.types}) == 1 for search in every)
