"""How the emulator runs functions.

- Functions run on the interpreter given to the emulator. The interpreter has none of the emulator's packages.
- An exception reaches the workflow by the exception's class name, as on AWS, and does not end the function's process.
- A function has at most WORKERS processes; further calls wait. Without a bound, 200 concurrent calls took 21 GB.
- The emulator unpacks code and layers once, not once for every process.
- A function's log is complete when the call ends, without a fixed wait.
- A function whose process dies ends with Runtime.ExitError, as on AWS. The next call starts a new process.
- A deployment ends a function's process only after the running call, as on AWS, never in the middle of a call.
"""

import hashlib
import io
import queue
import secrets
import tempfile
import threading
import time
import weakref
import zipfile
from collections import defaultdict
from typing import Any

from local.emulator.patching import changed, replace

# The functions of a renewal run one after the other, and the cores of a laptop can run only a few renewals at once.
WORKERS = 4

_LONGEST_CALL = 300.0
"""In seconds; longer than every function timeout that a test waits for."""

_LONGEST_LOG = 30.0
"""For so many seconds, the end of a call's log is waited for."""

_END_OF_LOG = "\x1e"
_EXCEPTION = "__exception__"
_ANSWER = (
    "            result = handler_fn(event, context)\n"
    '            _real_stdout.write(json.dumps({"status": "ok", "result": result}) + "\\n")\n'
    "        except Exception as e:\n"
    '            _real_stdout.write(json.dumps({"status": "error", "error": str(e), '
    '"trace": traceback.format_exc()}) + "\\n")\n'
)
_ANSWER_WITH_CLASS_NAME = f"""\
            _result = json.dumps(handler_fn(event, context))
        except Exception as e:
            traceback.print_exc()
            _result = json.dumps({{"{_EXCEPTION}": {{
                "errorMessage": str(e), "errorType": type(e).__name__, "requestId": _ms_ctx.get("request_id", ""),
                "stackTrace": traceback.format_tb(e.__traceback__)[1:]}}}})
        sys.stderr.write({_END_OF_LOG!r} + "\\n")
        sys.stderr.flush()
        _real_stdout.write('{{"status": "ok", "result": ' + _result + "}}\\n")
"""

process_of_key: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()
"""The function process behind an access key."""


def apply(python: str) -> None:
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc

    replace(lambda_runtime, "_detect_runtime_binary", {"return sys.executable,": f"return {python!r},"})
    replace(
        lambda_runtime.Worker,
        "_spawn",
        {
            """\
    code_dir = os.path.join(self._tmpdir, "code")
    os.makedirs(code_dir)
    with open(os.path.join(self._tmpdir, "code.zip"), "wb") as f:
        f.write(self.code_zip)
    with zipfile.ZipFile(os.path.join(self._tmpdir, "code.zip")) as zf:
        zf.extractall(code_dir)
""": "    code_dir = unpacked(self.code_zip)\n",
            "            if layer_data:\n": """\
            if layer_data:
                layers_dirs.append(unpacked(layer_data))
                continue
""",
            "spawn_env.update(execution_credentials(self.config))": "spawn_env.update(own_credentials(self))",
        },
        unpacked=_Folders().unpacked,
        own_credentials=_own_credentials,
    )
    lambda_runtime._PYTHON_WORKER_SCRIPT = changed(
        lambda_runtime._PYTHON_WORKER_SCRIPT, {_ANSWER: _ANSWER_WITH_CLASS_NAME}
    )
    lambda_runtime.Worker._drain_stderr_bounded = _log_of_call
    _register_sessions_one_at_a_time()

    for update in ("_update_code", "_update_config"):
        replace(lambda_svc, update, {"    invalidate_worker(name, ": "    retire(name, "}, retire=_retire)
    replace(lambda_svc, "_execute_function_warm", {'"Runtime.HandlerError"': '"Runtime.ExitError"'})
    run = lambda_svc._execute_function_warm
    gates: defaultdict[str, threading.Semaphore] = defaultdict(lambda: threading.Semaphore(WORKERS))

    def run_bounded(function: dict[str, Any], event: Any, request_id: str) -> dict[str, Any]:
        with gates[(function.get("config") or function)["FunctionArn"]]:
            result: dict[str, Any] = run(function, event, request_id)
        body = result.get("body")
        if isinstance(body, dict) and _EXCEPTION in body:
            return {**result, "body": body[_EXCEPTION], "error": True}
        return result

    lambda_svc._execute_function_warm = run_bounded


def _retire(function: str, **_of_whom: str) -> None:
    """Send no new calls to the running processes. Every process ends after its present call."""
    from ministack.core import lambda_runtime

    with lambda_runtime._lock:
        keys = [key for key in lambda_runtime._workers if key.split(":")[-2:] == [function, "$LATEST"]]
        retired = [worker for key in keys for worker in lambda_runtime._workers.pop(key)]

    def end() -> None:
        deadline = time.monotonic() + _LONGEST_CALL
        while any(worker.in_use for worker in retired) and time.monotonic() < deadline:
            time.sleep(0.05)
        lambda_runtime.kill_workers(retired)

    if retired:
        threading.Thread(target=end, daemon=True).start()


def _own_credentials(worker: Any) -> dict[str, str]:
    """Return credentials of the function's role, with an access key that belongs to this process alone.

    The key identifies the process behind a call.
    """
    from ministack.core import lambda_runtime
    from ministack.services import sts

    shared: dict[str, str] = lambda_runtime.execution_credentials(worker.config)
    key = f"ASIA{secrets.token_hex(8).upper()}"
    sts.register_session(key, dict(sts._sessions[shared["AWS_ACCESS_KEY_ID"]]))
    process_of_key[key] = worker
    return shared | {"AWS_ACCESS_KEY_ID": key}


def _register_sessions_one_at_a_time() -> None:
    """Let one thread at a time register a session. To register a session, MiniStack looks through all sessions: two
    processes that started at the same moment could fail, and with them every process of the function.
    """
    from ministack.services import sts

    register, lock = sts.register_session, threading.Lock()

    def registered(access_key: str, session: dict[str, Any]) -> None:
        with lock:
            register(access_key, session)

    sts.register_session = registered


class _Folders:
    """Unpacks every code archive and layer once, into a folder shared by all processes."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}
        self._lock = threading.Lock()

    def unpacked(self, archive: bytes) -> str:
        digest = hashlib.sha256(archive).hexdigest()
        with self._lock:
            if digest not in self._folders:
                folder = tempfile.mkdtemp(prefix="ministack-code-")
                with zipfile.ZipFile(io.BytesIO(archive)) as files:
                    files.extractall(folder)
                self._folders[digest] = folder
            return self._folders[digest]


def _log_of_call(worker: Any) -> str:
    """Return the log of a call: the output up to the end mark, or all output if the process has died."""
    lines = []
    deadline = time.monotonic() + _LONGEST_LOG
    while time.monotonic() < deadline:
        try:
            line = worker._stderr_queue.get(timeout=0.25)
        except queue.Empty:
            if worker._proc is None or worker._proc.poll() is not None:
                break
            continue  # on a busy machine, the thread that reads the output comes late
        lines.append(line.removesuffix(_END_OF_LOG))
        if line.endswith(_END_OF_LOG):
            break
    return "\n".join(lines).rstrip("\n")
