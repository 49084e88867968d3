"""Asks PyPI's vulnerability service about every locked package. Exit status 1 where a vulnerability is known.

Without internet, or behind an index that has no such service, nothing can be asked: that is said, and is no failure on
a laptop. In GitHub Actions it is one, since there nobody would read it. The layers' pins are those of the development
lock (a test holds them together), so the locks named here are all.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The smallest first: where it gets no answer, no other will.
LOCKS = [
    "local/requirements-uv.txt",
    "local/requirements-emulator.txt",
    "local/requirements-sam.txt",
    "local/requirements-checks.txt",
    "requirements-dev.txt",
]
_SECONDS = 300


@dataclass
class Answer:
    """What is known of one lock's packages: how many were looked up, which were not, and what is wrong with which."""

    asked: int = 0
    unknown: list[str] = field(default_factory=list)
    vulnerable: list[str] = field(default_factory=list)


class NoAnswerError(Exception):
    """The service was not reached, or it knows none of the packages."""


def ask(lock: str) -> Answer:
    """One lock's packages at the vulnerability service. Raises NoAnswerError."""
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
        raise NoAnswerError(f"no end within {_SECONDS} s") from error
    return read(run.stdout, run.stderr)


def read(report: str, said: str) -> Answer:
    """pip-audit's report in JSON. Without one, the last thing it said is why. Raises NoAnswerError."""
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
            answer.vulnerable.append(f"{package['name']} {package['version']}: {each['id']}, mended in {mended}")
    if not answer.asked:
        raise NoAnswerError(f"the index answers, and knows nothing of {', '.join(answer.unknown[:3])}")
    return answer


def audit(ask_about: Callable[[str], Answer], *, must_run: bool) -> int:
    """Asks about every lock, prints what was found, and returns the exit status."""
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
            print(f"{lock}: nothing is known of {', '.join(answer.unknown)}")
        failed = failed or bool(answer.vulnerable) or (must_run and bool(answer.unknown))
    print(f"{asked} pins of {len(LOCKS)} locks were looked up")
    return int(failed)


if __name__ == "__main__":
    sys.exit(audit(ask, must_run=os.environ.get("GITHUB_ACTIONS") == "true"))
