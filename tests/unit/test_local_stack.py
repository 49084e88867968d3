"""The local stack's build and ports, with a fake of SAM that only notes its calls."""

import socket
import sys
from pathlib import Path

import pytest

from local import stack
from local.stack import ROOT, Stack, StackError, free_port
from local.stack import __main__ as stack_command

_AT_THE_TOP = ("template.yaml", "samconfig.toml", "requirements-dev.txt")
_SAM = """#!/bin/sh
echo "$1" >>"{calls}"
while [ "$1" != --build-dir ]; do shift; done
mkdir -p "$2"
cat "{project}/src/app.py" >"$2/app.py"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose build copies src/app.py, and in which every call of SAM adds a line to `calls`."""
    project = tmp_path / "project"
    for file in ("src/app.py", "layers/aws/requirements.txt", "scripts/find_python.sh", *_AT_THE_TOP):
        (project / file).parent.mkdir(parents=True, exist_ok=True)
        (project / file).write_text("one")
    sam = tmp_path / "sam"
    sam.write_text(_SAM.format(calls=tmp_path / "calls", project=project))
    sam.chmod(0o755)
    monkeypatch.setattr(stack, "ROOT", project)
    monkeypatch.setattr(stack, "_SAM", sam)
    monkeypatch.setattr(stack, "_BUILD_FOLDER", project / ".local/build")
    return project


def _built(port: int) -> Stack:
    """Return a stack with the artifacts to deploy."""
    made = Stack(port)
    (made.folder / "logs").mkdir(parents=True, exist_ok=True)
    made._build()
    return made


def test_stacks_share_a_build_until_something_that_it_was_made_of_changes(project: Path) -> None:
    """A second port takes the existing build; a source with changed bytes under an unchanged name is built anew."""
    calls = project.parent / "calls"
    for port in (4601, 4602):
        assert (_built(port).artifacts_folder / "app.py").read_text() == "one"
    assert calls.read_text().split() == ["build"]
    (project / "src/app.py").write_text("two")
    assert (_built(4602).artifacts_folder / "app.py").read_text() == "two"
    assert calls.read_text().split() == 2 * ["build"]


@pytest.mark.parametrize("file", ["src/another.py", "layers/aws/requirements.txt", "template.yaml", "samconfig.toml"])
def test_whatever_goes_into_the_build_makes_it_anew(project: Path, file: str) -> None:
    """A new file, a layer's lock, the template and SAM's settings make the build anew as the functions' sources do."""
    _built(4601)
    (project / file).write_text("two")
    _built(4601)
    assert (project.parent / "calls").read_text().split() == 2 * ["build"]


def test_a_build_that_failed_is_made_again(project: Path) -> None:
    """Files left by a failed build never pass for a build, even where the sources are as before."""
    _built(4601)
    sam = stack._SAM.read_text()
    (project / "src/app.py").write_text("two")
    stack._SAM.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(stack.StackError, match="sam build failed"):
        _built(4601)
    (project / "src/app.py").write_text("one")
    stack._SAM.write_text(sam)
    _built(4601)
    assert (project.parent / "calls").read_text().split() == 2 * ["build"]


@pytest.mark.parametrize(("given", "environment"), [({}, "local"), ({"Environment": "prod"}, "prod")])
def test_test_clocks_count_on_a_local_stack_unless_it_is_to_be_prod(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], environment: str
) -> None:
    """Test clocks work on a local stack, because its environment is `local`, and `prod` only on request."""
    told: list[str] = []

    def sam(_stack: Stack, *words: str, **_: float) -> None:
        told.extend(words)
        raise StackError("deployed as far as this test looks")

    monkeypatch.setattr(Stack, "_build", lambda _: None)
    monkeypatch.setattr(Stack, "_running", lambda _: {"gateway_key": "sk_test_1", "gateway_url": "http://127.0.0.1:1"})
    monkeypatch.setattr(Stack, "_sam", sam)
    with pytest.raises(StackError):
        Stack(1, **given).deploy()
    assert [word for word in told if word.startswith("Environment=")] == [f"Environment={environment}"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a port that is held could not be served")
def test_a_free_port_is_held_for_the_stack() -> None:
    """Until the stack uses its port no program can take the port and nothing answers on the port, and then the emulator
    can start on the port."""
    port = free_port()
    with socket.socket() as another, pytest.raises(OSError, match="in use"):
        another.bind(("127.0.0.1", port))
    with socket.socket() as caller, pytest.raises(ConnectionRefusedError):
        caller.connect(("127.0.0.1", port))
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()


def test_a_command_on_a_port_without_a_stack_names_the_running_stacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a stack on the port, the sentence says how a stack is started, and names the ports of this checkout's
    running stacks."""
    for port in ("4600", "4700", "4800", "build"):
        (tmp_path / ".local" / port).mkdir(parents=True)
    monkeypatch.setattr(stack, "ROOT", tmp_path)
    monkeypatch.setattr(Stack, "runs", property(lambda self: self.port in (4700, 4800)))
    with pytest.raises(StackError, match=r"^no stack runs on port 4566: `make up` starts a stack\. .*4700 and 4800"):
        Stack(4566).require_running()
    monkeypatch.setattr(Stack, "runs", property(lambda _: False))
    with pytest.raises(StackError, match=r"^no stack runs on port 4600: `make up PORT=4600` starts a stack$"):
        Stack(4600).require_running()


@pytest.mark.parametrize(
    "url", ["", "http://127.0.0.1:8080", "http://127.0.0.1:8080/events", "https://app.example/events"]
)
def test_an_address_for_events_is_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """EVENTS_URL may be missing, an address of this machine, or an https address, as the template's pattern has it."""
    assert f"AllowedPattern: '^{stack_command._ADDRESS}$'" in (ROOT / "template.yaml").read_text()
    monkeypatch.setenv("EVENTS_URL", url)
    assert stack_command.events_url() == url


@pytest.mark.parametrize("url", ["localhost:8080", "http://app.example/events", "http://127.0.0.1/events", "ftp://a/b"])
def test_an_address_that_the_template_refuses_is_refused_before_the_build(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong EVENTS_URL is refused with a right form, before anything is built."""
    monkeypatch.setenv("EVENTS_URL", url)
    with pytest.raises(StackError, match=r"EVENTS_URL must be http://127\.0\.0\.1:<port>/<path> or an https address"):
        stack_command.events_url()
