"""Accept the present calls of tests, or compare the calls with an earlier commit's; see the package."""

import argparse
import difflib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.recordings import kept

ROOT = Path(__file__).parents[2]
TITLES = {
    "actions": "Each kind of action on DynamoDB that the unit tests make. A transaction's actions follow one another.",
    "mails": "Each mail that the unit tests send.",
    "answers": "Each kind of answer of the API and the webhook in the unit tests.",
}


def main() -> int:
    """Run the requested command, and return 1 where tests differ or fail."""
    parser = argparse.ArgumentParser(prog="python -m tests.recordings", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    accept = commands.add_parser("accept", help="record the present calls of these tests as right")
    compare = commands.add_parser("compare", help="show every call that differs from a commit's")
    compare.add_argument("--with", dest="commit", default="HEAD", metavar="COMMIT")
    for command in (accept, compare):
        command.add_argument("tests", nargs="+", help="files or tests, as pytest names them")
    asked = parser.parse_args()
    if asked.command == "accept":
        return _accept(sorted({test.partition("[")[0] for test in asked.tests}))
    return _compare(asked.tests, asked.commit)


def _accept(tests: list[str]) -> int:
    ran = _run(tests, ROOT)
    if ran is None:
        print("Nothing is recorded: tests failed.")
        return 1
    _keep(ran, tests)
    return 0


def _keep(ran: list[dict[str, Any]], tests: list[str]) -> None:
    """Keep the calls just recorded as the right calls of these tests."""
    modules: dict[str, dict[str, kept.Recording]] = defaultdict(dict)
    words: dict[str, dict[str, str]] = {which: dict(kept.known(which)) for which in kept.LISTS}
    for line in ran:
        module, name, parameters = kept.place(line["test"])
        recording = modules[module].setdefault(name, kept.Recording())
        recording.digests[parameters] = line["digest"]
        for which, kinds in line["kinds"].items():
            named = {kept.short(kind): kind for kind in kinds}
            recording.kinds |= named.keys()
            words[which] |= named
    for module, recorded in _whole(tests, modules).items():
        kept.write_recordings(module, recorded)
    used = kept.kinds_in_use()
    for which in kept.LISTS:
        now = {name: kind for name, kind in words[which].items() if name in used}
        for sign, names in (("new", now.keys() - kept.known(which)), ("gone", kept.known(which).keys() - now)):
            for name in sorted(names):
                print(f"{sign} in {which}: {words[which].get(name, name)}")
        kept.write_known(which, now, TITLES)
    print(f"recorded: {sum(len(recorded) for recorded in modules.values())} tests in {len(modules)} files")


def _whole(tests: list[str], modules: dict[str, dict[str, kept.Recording]]) -> dict[str, dict[str, kept.Recording]]:
    """Return the new recordings of every module, completed by the kept recordings of tests that were not run."""
    found = dict(modules)
    for test in tests:
        path, _, name = test.partition("::")
        if name:
            module = Path(path).stem
            found[module] = {**kept.recordings(module), **modules.get(module, {})}
            if name not in modules.get(module, {}):
                found[module].pop(name, None)
        elif path.endswith(".py"):
            found.setdefault(Path(path).stem, {})
        else:
            gone = {module for module in kept.modules() if not (ROOT / path / f"{module}.py").exists()}
            found |= {module: {} for module in gone}
    return found


def _compare(tests: list[str], commit: str) -> int:
    with _checked_out(commit) as folder:
        before, now = _run(tests, folder), _run(tests, ROOT)
    if before is None or now is None:
        print("Tests failed: the comparison below may be incomplete.")
    then, today = ({line["test"]: line["lines"] for line in each or []} for each in (before, now))
    differ = 0
    for test in sorted(then.keys() | today.keys()):
        if then.get(test, []) != today.get(test, []):
            differ += 1
            print(f"\n{test}")
            for line in difflib.unified_diff(then.get(test, []), today.get(test, []), n=1, lineterm=""):
                print(f"  {line}")
    print(f"\n{differ} of {len(then | today)} tests differ")
    return 1 if differ else 0


def _run(tests: list[str], folder: Path) -> list[dict[str, Any]] | None:
    """Run these tests in a checkout, and return the recorded calls of every test; None where a test failed."""
    many = any((folder / test).is_dir() for test in tests)
    processes = ["--numprocesses", "2", "--dist", "worksteal"] if many else []
    with TemporaryDirectory() as records:
        command = [sys.executable, "-m", "pytest", *processes, *tests]
        done = subprocess.run(command, cwd=folder, env=os.environ | {kept.RECORD_TO: records}, check=False)
        lines = [line for path in Path(records).glob("*.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines] if done.returncode == 0 else None


@contextmanager
def _checked_out(commit: str) -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", folder, commit], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run([*git, "remove", "--force", folder], check=True)


if __name__ == "__main__":
    sys.exit(main())
