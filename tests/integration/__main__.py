"""Run the integration tests, a process of pytest for each share of `stacks`: `python -m tests.integration`, which
`make integration` calls. Further arguments go to each pytest."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.integration.stacks import RUN, SHARES, Share, end_stacks_of
from tests.unit.__main__ import PYTEST, run

_FOLDER = Path(__file__).parent
_COMMAND = [*PYTEST, "-rs", str(_FOLDER)]


def commands(more: Sequence[str]) -> list[list[str]]:
    """Return the command of each share. Only shares with tests of schemathesis load its plugin: a second."""
    return [[*_COMMAND, *_less(share), "--share", name, *more] for name, share in SHARES.items()]


def _less(share: Share) -> list[str]:
    uses = any("import schemathesis" in (_FOLDER / file).read_text() for file in share.files)
    return [] if uses else ["-p", "no:schemathesis"]


if __name__ == "__main__":
    os.environ[RUN] = str(os.getpid())
    try:
        sys.exit(run(commands(sys.argv[1:])))
    finally:
        end_stacks_of(os.getpid())
