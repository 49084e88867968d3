"""The recordings: the changes they notice, the differences they ignore, and no recording of a deleted test."""

import ast
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from renewals.runtime import dynamodb
from tests import sources
from tests.fakes import World
from tests.recordings import kept, plugin, recorder

UNIT = Path(__file__).parent


def _told(act: Callable[[World], Any]) -> recorder.Told:
    """Return the words for all calls of an act in a new world."""
    recorder.begin(listens=True)
    shop = World()
    shop.subscribe()
    act(shop)
    return recorder.told(without_days=False)


def _renewed(shop: World) -> None:
    assert shop.run() == "Success"


def test_two_runs_are_told_in_the_same_words() -> None:
    """Two runs have the same words and digest, although every run draws new random marks."""
    first, second = _told(_renewed), _told(_renewed)
    assert first.lines == second.lines
    assert first.digest == second.digest
    assert any("<mark 2>" in line for line in first.lines)


def test_every_seam_is_told_in_its_order() -> None:
    """A recorded renewal reads and writes the tables, asks the gateway, stores the receipt and sends the mail, in
    order."""
    lines = _told(_renewed).lines
    seams = [line.split(maxsplit=1)[0] for line in lines]
    order = ["query", "gateway.create", "gateway.confirm", "s3.put_object", "To:"]
    assert [seams.index(each) for each in order] == sorted(seams.index(each) for each in order)


def _write(shop: World, expression: str, condition: str, value: str) -> None:
    client: Any = shop.dynamodb
    arguments = dynamodb.change("subscriptions", {"subscription_id": "sub_1", "customer_id": "cus_1"}, {}, "", {})
    client.update_item(
        **arguments
        | {
            "UpdateExpression": expression,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#status": "status", "#note": "note"},
            "ExpressionAttributeValues": {":active": {"S": "active"}, ":new": {"S": value}, ":other": {"S": "other"}},
        }
    )


def test_calls_from_several_threads_are_not_compared() -> None:
    """Calls from several threads are not compared: their order varies, and a recording would fail by chance."""
    _told(_renewed)
    assert recorder.are_in_order()

    def renewed_by_two_threads(shop: World) -> None:
        _renewed(shop)
        with ThreadPoolExecutor(1) as another:
            another.submit(shop.run).result()

    _told(renewed_by_two_threads)
    assert not recorder.are_in_order()


WRITTEN = ("SET #note = :new, #status = :other", "#status = :active", "new")


@pytest.mark.parametrize(
    "other",
    [
        ("SET #note = :new", *WRITTEN[1:]),
        (WRITTEN[0], "#status <> :other", WRITTEN[2]),
        (*WRITTEN[:2], "newer"),
    ],
    ids=["fewer attributes", "another condition", "another value"],
)
def test_another_write_is_seen(other: tuple[str, str, str]) -> None:
    """An update with a missing attribute, a different condition or a different value changes the digest."""
    was, now = _told(lambda shop: _write(shop, *WRITTEN)), _told(lambda shop: _write(shop, *other))
    assert was.digest != now.digest


def test_the_order_of_an_update_s_terms_and_its_placeholders_mean_nothing() -> None:
    """Names and values replace an update's placeholders, and the terms are sorted: order and placeholders do not change
    the words."""
    was = _told(lambda shop: _write(shop, *WRITTEN))
    now = _told(lambda shop: _write(shop, "SET #status = :other, #note = :new", *WRITTEN[1:]))
    assert (was.lines, was.kinds) == (now.lines, now.kinds)
    [kind] = was.kinds["actions"]
    assert kind.endswith(" SET note = new, status = other ConditionExpression: status = active")


def test_another_mail_and_another_order_are_seen() -> None:
    """A changed word of a mail and a changed order of calls change the recording."""
    was = _told(_renewed)
    recorder.begin(listens=True)
    shop = World()
    shop.subscribe(plan="Basic")
    _renewed(shop)
    assert was.kinds["mails"] != recorder.told(without_days=False).kinds["mails"]
    swapped = recorder.Told(lines=[was.lines[1], was.lines[0], *was.lines[2:]])
    assert swapped.digest != recorder.Told(lines=was.lines).digest


def test_a_test_that_does_something_else_fails_and_says_what() -> None:
    """A test with different calls fails and names the new and the missing kinds of calls in words; a test without a
    recording passes."""
    told = _told(_renewed)
    recording = kept.Recording({"gone"}, {"": "another"})
    plugin._compare(None, "", told)
    plugin._compare(kept.Recording(set(), {"": told.digest}), "", told)
    with pytest.raises(pytest.fail.Exception, match=r"(?s)new:  .*transaction Put renewals.*gone: gone"):
        plugin._compare(recording, "", told)


def test_the_lists_are_of_what_the_tests_do() -> None:
    """Every listed kind of call belongs to a test, and every test's kinds are listed."""
    listed = {name for which in kept.LISTS for name in kept.known(which)}
    assert listed == set(kept.kinds_in_use())
    for which in kept.LISTS:
        assert all(kept.short(words) == name for name, words in kept.known(which).items())


def test_no_recording_is_of_a_test_that_is_gone() -> None:
    """Every recording has the name of an existing test, and every exempted test exists."""
    for module in kept.modules():
        tree = sources.tree(UNIT / f"{module}.py")
        there = {node.name for node in sources.walked(tree) if isinstance(node, ast.FunctionDef)}
        assert {name.rpartition("::")[2] for name in kept.recordings(module)} <= there, module
    for name in plugin.LEFT_OUT.keys() | plugin.WITHOUT_DAYS:
        assert (UNIT / f"{name.partition('::')[0]}.py").exists(), name
