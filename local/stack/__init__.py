"""The local stack: the AWS emulator, the customers' mailbox and the sandbox gateway, with the project deployed.

`python -m local.stack up` starts the stack on PORT (4566 if not set) and deploys, or deploys again to a running stack;
`python -m local.stack down` ends the stack. Several stacks can run side by side on different ports. Files for people
and tools lie in `.local/<PORT>/`:

    outputs.json    the outputs of the deployed stack, and LocalWebhookUrl, LocalApiUrl, GatewayUrl, ConsoleUrl, Region
    mail/*.eml      every sent mail
    logs/*.log      emulator, mailbox, gateway, console, sam-build, sam-deploy
    aws-config      an AWS configuration file whose profile `local` reaches the emulator
    running.json    the running processes, and the gateway's key
"""

import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import boto3
import botocore.session

from local.processes import Process, ProcessError, alive, announcement, launch, stop, tail, wait_for
from local.progress import step

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_PORT = 4566
REGION = "us-west-2"
STACK_NAME = "subscription-mgmt"
ENVIRONMENT = "local"
"""The template's Environment on the local stack. In every environment but prod, a subscription may have a test
clock.
"""

_SAM = ROOT / ".venv/bin/sam"
_EMULATOR_PYTHON = ROOT / ".envs/emulator/bin/python"
_LAMBDA_PYTHON = ROOT / ".envs/lambda/bin/python3.13"
_BUILD_FOLDER = ROOT / ".local/build"
_BUILD_IS_MADE_OF = (
    "src",
    "layers",
    "template.yaml",
    "samconfig.toml",
    "scripts/find_python.sh",
    "requirements-dev.txt",  # the SAM CLI
)
_held_ports: list[socket.socket] = []
_NEEDED = frozenset({"emulator", "mailbox", "gateway"})
_BUILD_SECONDS, _DEPLOY_SECONDS, _EMULATOR_SECONDS = 600, 300, 30


class StackError(Exception):
    """The local stack cannot do the requested work. The message says why, with the end of the relevant log."""


class Stack:
    """The local stack on a port. As a context manager, the stack is started and deployed on entry, and ended on exit.

    Creating the object starts nothing: `Stack(4566)` also reaches a stack that `make up` left running. `parameters`
    replace defaults of the template's parameters; `Environment` is `local` unless given.
    """

    def __init__(self, port: int = DEFAULT_PORT, **parameters: str) -> None:
        self.port = port
        self._parameters = {"Environment": ENVIRONMENT} | parameters
        self.endpoint_url = f"http://127.0.0.1:{port}"
        self.folder = ROOT / ".local" / str(port)
        self.mail_folder = self.folder / "mail"
        self.outputs_file = self.folder / "outputs.json"
        self.aws_config_file = self.folder / "aws-config"
        self._logs_folder = self.folder / "logs"
        self._temporary_folder = self.folder / "tmp"
        self.artifacts_folder = self.folder / "artifacts"
        self._running_file = self.folder / "running.json"

    def __enter__(self) -> Self:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            self.start()
            self.deploy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def runs(self) -> bool:
        """Tell whether the emulator, the mailbox and the gateway all run."""
        return {process.name for process in self._processes() if alive(process)} >= _NEEDED

    @property
    def outputs(self) -> dict[str, str]:
        """Return the outputs of the deployed stack and of this machine. Raises StackError if nothing is deployed."""
        if not self.outputs_file.exists():
            raise StackError(f"nothing is deployed on port {self.port}: `make up PORT={self.port}` deploys the stack")
        outputs: dict[str, str] = json.loads(self.outputs_file.read_text())
        return outputs

    @property
    def gateway_url(self) -> str:
        """The base address of the sandbox gateway."""
        return str(self._running()["gateway_url"])

    @property
    def gateway_key(self) -> str:
        """The secret key that the sandbox gateway accepts, created for this stack."""
        return str(self._running()["gateway_key"])

    @property
    def emulator_pid(self) -> int:
        """The id of the emulator's process. The processes of functions are its children."""
        return next(process.pid for process in self._processes() if process.name == "emulator")

    @cached_property
    def session(self) -> boto3.Session:
        """A session as the account's root user on the emulator, independent of AWS settings in the environment.

        Raises StackError if no stack runs.
        """
        if not self.aws_config_file.exists():
            self.require_running()
        session = botocore.session.Session()
        session.set_config_variable("config_file", str(self.aws_config_file))
        session.set_config_variable("credentials_file", os.devnull)
        session.set_config_variable("profile", "local")
        return boto3.Session(botocore_session=session)

    def client(self, service: str) -> Any:
        """Return a boto3 client for the emulator."""
        return self.session.client(service, endpoint_url=self.endpoint_url)  # type: ignore[call-overload]

    def require_running(self) -> Self:
        """Return the stack itself, for a command that needs a running stack. Raises StackError if no stack runs."""
        if not self.runs:
            more = "" if self.port == DEFAULT_PORT else f" PORT={self.port}"
            others = " and ".join(str(port) for port in ports_of_running_stacks())
            instead = f". This checkout's stack on port {others} is chosen by PORT in the environment" if others else ""
            raise StackError(f"no stack runs on port {self.port}: `make up{more}` starts a stack{instead}")
        return self

    def start(self) -> None:
        """Start a stack without data, unless the stack already runs. Raises StackError."""
        if self.runs:
            return
        self.stop()
        self._refuse_taken_port()
        with step(f"start the emulator, the mailbox and the gateway on port {self.port}"):
            try:
                self._start()
            except ProcessError as problem:
                raise StackError(str(problem)) from problem

    def deploy(self) -> None:
        """Build and deploy the project, or the changes since the last deployment. Raises StackError."""
        with step("sam build"):
            self._build()
        with step("sam deploy"):
            self._sam(
                "deploy",
                *("--template-file", str(self.artifacts_folder / "template.yaml")),
                *("--config-file", str(ROOT / "samconfig.toml"), "--config-env", "local"),
                "--no-fail-on-empty-changeset",
                "--parameter-overrides",
                f"PaymentGatewayApiKey={self.gateway_key}",
                f"PaymentGatewayEndpoint={self.gateway_url}",
                f"ReceiptLinksUrl={self.endpoint_url}/_local/receipts",
                *self._account_page(),
                "CancellationForm=on",
                "WithdrawalForm=on",
                "RenewalConcurrency=20",  # the default is meant for a new AWS account
                *(f"{name}={value}" for name, value in self._parameters.items()),
                seconds=_DEPLOY_SECONDS,
            )
        described = self.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        webhook = urlsplit(outputs["WebhookUrl"])
        api_id = webhook.netloc.partition(".")[0]
        outputs["LocalWebhookUrl"] = f"{self.endpoint_url}/_aws/execute-api/{api_id}{webhook.path}"
        outputs["LocalApiUrl"] = outputs["LocalWebhookUrl"].removesuffix("/webhook")
        outputs["GatewayUrl"] = self.gateway_url
        outputs["Region"] = REGION
        _write(self.outputs_file, json.dumps(outputs, indent=2))

    def _account_page(self) -> list[str]:
        """Return the parameter that gives the customer page an address known before the API is deployed; none where a
        team's own page is in its place."""
        own = self._parameters.get("CustomerPageUrl")
        return [] if own else [f"AccountPageUrl={self.endpoint_url}/_local/account"]

    def serve_console(self) -> None:
        """Serve the console unless already served, and record its address in the outputs. Raises StackError.

        A stack also runs without the console: tests save the console's memory and start.
        """
        processes = self._processes()
        if not any(process.name == "console" and alive(process) for process in processes):
            self._record(processes=[asdict(process) for process in processes if process.name != "console"])
            served = self._launch("console", sys.executable, "-m", "local.console", "--port", str(self.port))
            try:
                self._record(console_url=announcement(served)["url"])
            except ProcessError as problem:
                stop([served])
                raise StackError(str(problem)) from problem
        outputs = self.outputs | {"ConsoleUrl": self._running()["console_url"]}
        _write(self.outputs_file, json.dumps(outputs, indent=2))

    def stop(self) -> None:
        """End everything started on this port, and delete all files except mails and logs."""
        processes = self._processes()
        # The emulator ends first, because the functions call the mailbox and the gateway.
        stop([process for process in processes if process.name == "emulator"])
        stop(processes)
        for folder in (self._temporary_folder, self.artifacts_folder):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self._running_file, self.outputs_file, self.aws_config_file):
            file.unlink(missing_ok=True)

    def _start(self) -> None:
        for folder in (self.mail_folder, self._logs_folder):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in (self.mail_folder, self._logs_folder, self._temporary_folder):
            folder.mkdir(parents=True)
        _write(self.aws_config_file, _aws_config(self.endpoint_url))

        key = f"sk_test_{secrets.token_hex(16)}"
        mailbox = self._launch("mailbox", sys.executable, "-m", "local.mailbox", "--folder", str(self.mail_folder))
        gateway = self._launch("gateway", sys.executable, "-m", "local.gateway", "--port", "0", "--api-key", key)
        emulator = self._launch(
            "emulator",
            *(str(_EMULATOR_PYTHON), "-m", "local.emulator", "--port", str(self.port), "--region", REGION),
            *("--smtp", urlsplit(announcement(mailbox)["url"]).netloc, "--python", str(_LAMBDA_PYTHON)),
        )
        self._record(gateway_key=key, gateway_url=announcement(gateway)["url"])
        wait_for(emulator, self._healthy, _EMULATOR_SECONDS)

    def _launch(self, name: str, *command: str) -> Process:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._temporary_folder),
            "TMPDIR": str(self._temporary_folder),
            "PYTHONUNBUFFERED": "1",
            # Functions inherit these variables. No setting or key of the person at the machine may reach the functions.
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        log = self._logs_folder / f"{name}.log"
        process = launch(name, command, folder=ROOT, environment=environment, log=log)
        self._record(processes=[*self._running().get("processes", []), asdict(process)])
        return process

    def _healthy(self) -> bool | None:
        with suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(f"{self.endpoint_url}/_ministack/health", timeout=2).close()  # noqa: S310  (http, ours)
            return True
        return None

    def _refuse_taken_port(self) -> None:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as problem:
                raise StackError(
                    f"port {self.port} cannot be used: {problem.strerror}. Choose a different one: `make up PORT=4600`"
                ) from problem

    def _build(self) -> None:
        # All ports share a build, which stays valid until an input of the build changes.
        with _locked(_BUILD_FOLDER / "lock"):
            build, cache, made_of = (_BUILD_FOLDER / name for name in ("artifacts", "cache", "made-of"))
            digest = _digest(_BUILD_IS_MADE_OF)
            if not (made_of.exists() and made_of.read_text() == digest):
                made_of.unlink(missing_ok=True)
                options = ("--cached", "--parallel", "--build-dir", str(build), "--cache-dir", str(cache))
                self._sam("build", "--config-env", "local", *options, seconds=_BUILD_SECONDS)
                _write(made_of, digest)
            shutil.rmtree(self.artifacts_folder, ignore_errors=True)
            shutil.copytree(build, self.artifacts_folder, copy_function=os.link)

    def _sam(self, command: str, *options: str, seconds: float) -> None:
        home = self._temporary_folder / "sam"
        home.mkdir(parents=True, exist_ok=True)
        # SAM asks the package index for a newer SAM once a week. The recorded check prevents the request.
        _write(home / "metadata.json", json.dumps({"lastVersionCheck": datetime.now(UTC).timestamp()}))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")} | {
            # The python3.13 of the bootstrap environment has pip; the python of an environment made by uv has none.
            "PATH": f"{ROOT / '.envs/bootstrap/bin'}:{os.environ['PATH']}",
            "TMPDIR": str(self._temporary_folder),  # sam build leaves empty folders there
            "AWS_CONFIG_FILE": str(self.aws_config_file),
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_PROFILE": "local",
            "NO_PROXY": "127.0.0.1",
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.2",
            "__SAM_CLI_APP_DIR": str(home),
        }
        log = self._logs_folder / f"sam-{command}.log"
        with log.open("wb") as output:
            try:
                subprocess.run(
                    [_SAM, command, *options],
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=seconds,
                    check=True,
                )
            except subprocess.CalledProcessError as problem:
                raise StackError(f"sam {command} failed. {tail(log)}") from problem
            except subprocess.TimeoutExpired as problem:
                raise StackError(f"sam {command} was not done after {seconds:.0f} s. {tail(log)}") from problem

    def _processes(self) -> list[Process]:
        return [Process(**recorded) for recorded in self._running().get("processes", [])]

    def _running(self) -> dict[str, Any]:
        running: dict[str, Any] = json.loads(self._running_file.read_text()) if self._running_file.exists() else {}
        return running

    def _record(self, **news: Any) -> None:
        _write(self._running_file, json.dumps(self._running() | news, indent=2))


def port_from_environment() -> int:
    """Return PORT, or 4566 if PORT is not set. Raises StackError if PORT is not a valid port."""
    text = os.environ.get("PORT") or str(DEFAULT_PORT)
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise StackError(f"PORT must be a number from 1024 to 65535, not {text!r}")
    return int(text)


def ports_of_running_stacks() -> list[int]:
    """Return the ports of this checkout's running stacks."""
    found = sorted(int(folder.name) for folder in (ROOT / ".local").glob("[0-9]*"))
    return [port for port in found if Stack(port).runs]


def free_port() -> int:
    """Return a loopback port without a listener. On Linux, no other program receives the port before this program
    ends.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port: int = held.getsockname()[1]
    if sys.platform == "linux":
        _held_ports.append(held)  # bound; a server that sets SO_REUSEADDR, such as the emulator, can still listen
    else:
        held.close()
    return port


def _aws_config(endpoint_url: str) -> str:
    return f"""\
[profile local]
region = {REGION}
endpoint_url = {endpoint_url}
aws_access_key_id = test
aws_secret_access_key = test
# With the host prefix that some AWS services demand, 127.0.0.1 would no longer be an address.
disable_host_prefix_injection = true
"""


def _write(file: Path, text: str) -> None:
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(file)


def _digest(paths: Sequence[str]) -> str:
    """Return a hash of the content of these files and folders of the project, without bytecode."""
    digest = sha256()
    for path in paths:
        below = sorted(file for file in (ROOT / path).rglob("*") if file.is_file() and file.suffix != ".pyc")
        for file in below or [ROOT / path]:
            content = file.read_bytes()
            digest.update(f"{file.relative_to(ROOT)} {file.stat().st_mode:o} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
