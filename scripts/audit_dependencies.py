"""Asks PyPI's vulnerability service about every locked package. The exit status is 1 if a vulnerability is known.

Without internet, or behind an index without such a service, no question can be asked. The command says so; on a laptop
the missing answer is no failure, but in GitHub Actions it fails the check, since nobody would read the message. The
pins of the layers equal the pins of the development lock (a test compares them), so the locks below cover everything.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The smallest lock comes first: without an answer for the first lock, the others need not be tried.
LOCKS = [
    "local/requirements-uv.txt",
    "local/requirements-emulator.txt",
    "local/requirements-checks.txt",
    "requirements-dev.txt",
]
_SECONDS = 300


@dataclass
class Answer:
    """The known facts about a lock's packages.

    asked: the number of packages looked up. unknown: the packages without an answer. vulnerable: the vulnerabilities,
    in words.
    """

    asked: int = 0
    unknown: list[str] = field(default_factory=list)
    vulnerable: list[str] = field(default_factory=list)


class NoAnswerError(Exception):
    """The service was not reached, or knows none of the packages."""


def ask(lock: str) -> Answer:
    """Ask the vulnerability service about a lock's packages. Raises NoAnswerError."""
    command = [str(ROOT / ".envs/checks/bin/pip-audit"), "--disable-pip", "--require-hashes", "--progress-spinner=off"]
    try:
        run = subprocess.run(
            [*command, "--format", "json", "--requirement", str(ROOT / lock)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NoAnswerError(f"no answer within {_SECONDS} s") from error
    return read(run.stdout, run.stderr)


def read(report: str, said: str) -> Answer:
    """Read pip-audit's JSON report. Without a report, the last line of output is the reason. Raises NoAnswerError."""
    try:
        packages = json.loads(report)["dependencies"]
    except ValueError as error:
        raise NoAnswerError((said.strip().splitlines() or ["pip-audit said nothing"])[-1]) from error
    answer = Answer()
    for package in packages:
        if "skip_reason" in package:
            answer.unknown.append(package["name"])
            continue
        answer.asked += 1
        for each in package["vulns"]:
            mended = ", ".join(each["fix_versions"]) or "no version yet"
            answer.vulnerable.append(f"{package['name']} {package['version']}: {each['id']}, fixed in {mended}")
    if not answer.asked:
        raise NoAnswerError(f"the index answers, but knows nothing of {', '.join(answer.unknown[:3])}")
    return answer


def audit(ask_about: Callable[[str], Answer], *, must_run: bool) -> int:
    """Ask about every lock, print the results, and return the exit status."""
    failed = False
    asked = 0
    for lock in LOCKS:
        try:
            answer = ask_about(lock)
        except NoAnswerError as why:
            print(f"not run: no vulnerability service reachable for {lock} ({why})")
            return int(failed or must_run)
        asked += answer.asked
        for each in answer.vulnerable:
            print(f"{lock}: {each}")
        if answer.unknown:
            print(f"{lock}: the service knows nothing of {', '.join(answer.unknown)}")
        failed = failed or bool(answer.vulnerable) or (must_run and bool(answer.unknown))
    print(f"{asked} pins of {len(LOCKS)} locks were looked up")
    return int(failed)


if __name__ == "__main__":
    sys.exit(audit(ask, must_run=os.environ.get("GITHUB_ACTIONS") == "true"))
