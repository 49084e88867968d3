"""The search for Python 3.13 that comes before everything else."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "find_python.sh"


def test_a_shim_that_points_nowhere_leads_to_its_pyenv(tmp_path: Path) -> None:
    """A broken python3.13 on PATH is passed over for the one in its pyenv, with nothing of pyenv in the environment."""
    shim, python = tmp_path / "shims/python3.13", tmp_path / "versions/3.13.7/bin/python3.13"
    for folder in (shim.parent, python.parent):
        folder.mkdir(parents=True)
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    python.symlink_to(Path(sys.executable).resolve())
    environment = {"PATH": f"{shim.parent}:/usr/bin:/bin", "HOME": str(tmp_path / "empty")}
    found = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == f"{python}\n"
