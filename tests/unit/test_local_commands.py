"""The commands of the local stack tell every problem in a sentence."""

import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import urllib3
from botocore.exceptions import EndpointConnectionError

from local import commands, subscribe, test_clock
from local.commands import plainly
from local.stack import StackError
from renewals.language.tags import LANGUAGES
from tests.fake_aws import error

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "command",
    [
        ["local.webhook"],
        pytest.param(["local.subscribe"], marks=pytest.mark.proof),  # asks for the stack as local.webhook does
        pytest.param(["local.bank", "dispute"], marks=pytest.mark.proof),
        pytest.param(["local.test_clock", "sub_1", "2027-01-31"], marks=pytest.mark.proof),
        pytest.param(["scripts.subscriptions", "list"], marks=pytest.mark.proof),  # asks as scripts.oncall does
        ["scripts.oncall", "alarms"],
    ],
    ids=lambda command: command[0],
)
def test_without_a_stack_a_command_says_so_in_a_sentence(command: list[str]) -> None:
    """Where no stack runs on the port, or the stack's AWS profile is gone, a command says so in a sentence, without a
    traceback."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
        environment = os.environ | {
            "PORT": port,
            "AWS_PROFILE": "local",
            "AWS_CONFIG_FILE": str(ROOT / ".local" / port / "aws-config"),
        }
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "make up" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_language_without_catalogues_is_refused_with_the_tags_of_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`local.subscribe --locale` takes each tag of the eleven languages, and refuses any other text with a sentence
    that names the tags, before anything is created."""
    for tag in LANGUAGES:
        monkeypatch.setattr(sys, "argv", ["local.subscribe", "--locale", tag])
        assert subscribe._arguments().locale == tag
    for wrong in ("xx", "de-AT", "German", ""):
        monkeypatch.setattr(sys, "argv", ["local.subscribe", "--locale", wrong])
        with pytest.raises(SystemExit) as refused:
            subscribe.main()
        assert refused.value.code == 2
        said = capsys.readouterr().err
        assert "--locale" in said
        assert repr(wrong) in said
        assert all(f"'{tag}'" in said for tag in LANGUAGES)


def test_nothing_that_was_written_by_others_commands_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A plan with an escape sequence, an overridden direction or markup is shown as its characters and moves no cursor:
    in a timeline, among the periods, in the next steps, among the faults, and in the sentence with which a command
    ends."""
    text = "Pro \x1b]52;c;cm0=\x07[bold]\u202ePlan"
    shown = "Pro \\x1b]52;c;cm0=\\x07[bold]\\u202ePlan"
    answer = {"items": [{"at": "2026-01-31T12:00:00+00:00", "text": text}]}
    subscribe.tell(lambda _method, _path: answer, text)
    test_clock.tell([{"renewal_date": "2026-01-31", "status": text}])
    stack: Any = SimpleNamespace(port=4566, folder=ROOT / ".local" / "4566", outputs={})
    subscribe._say_what_next(stack, text, text)
    commands.say_wrong(text)
    told = capsys.readouterr().out
    assert (told.count(shown), "\x1b" in told) == (3 + 6 + 1, False)

    with pytest.raises(SystemExit) as ended, commands.plainly():
        raise StackError(f"amount: {text}\nplan: is wrong")
    assert str(ended.value) == f"amount: {shown}\nplan: is wrong"


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (EndpointConnectionError(endpoint_url="http://127.0.0.1:4566"), "Could not connect to the endpoint URL"),
        (error("ResourceNotFoundException", "GetSecretValue"), "GetSecretValue"),
        (StackError("no stack runs"), "no stack runs"),
        (urllib3.exceptions.ReadTimeoutError(urllib3.HTTPConnectionPool("127.0.0.1"), "/", "timed out"), "timed out"),
    ],
)
def test_a_stack_that_ends_in_the_middle_is_told_in_a_sentence(problem: Exception, said: str) -> None:
    """When the emulator was stopped, or started anew without the requested resource, a command says so in a sentence,
    without a traceback."""
    with pytest.raises(SystemExit, match=said) as ended, plainly():
        raise problem
    assert len(str(ended.value).splitlines()) == 1
