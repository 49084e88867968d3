"""The search for Python 3.13, which comes before everything else."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "find_python.sh"


MAKEFILES = {"src": "build-WebhookHandler"} | {
    f"layers/{layer}": f"build-{layer.capitalize()}Layer" for layer in ("api", "aws", "payment", "receipt", "webhook")
}


@pytest.fixture
def broken(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """An environment whose python3.13 is a shim that points nowhere, and the Python in the shim's pyenv."""
    shim, python = tmp_path / "shims/python3.13", tmp_path / "versions/3.13.7/bin/python3.13"
    for folder in (shim.parent, python.parent):
        folder.mkdir(parents=True)
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    python.symlink_to(Path(sys.executable).resolve())
    return {"PATH": f"{shim.parent}:/usr/bin:/bin", "HOME": str(tmp_path / "empty")}, python


def test_a_shim_that_points_nowhere_leads_to_its_pyenv(broken: tuple[dict[str, str], Path]) -> None:
    """A broken python3.13 on PATH is passed over for the Python in its pyenv, even with nothing of pyenv in the
    environment."""
    environment, python = broken
    found = subprocess.run([SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == f"{python}\n"


@pytest.mark.parametrize(("folder", "target"), MAKEFILES.items())
def test_sam_build_finds_it_too(broken: tuple[dict[str, str], Path], tmp_path: Path, folder: str, target: str) -> None:
    """`sam build` runs the Makefiles of layers and functions in copies of their folders, by the path of the original:
    the Makefiles search for Python as the project does, even where PATH has no working Python in front."""
    environment, python = broken
    command = ["make", "--dry-run", "--makefile", str(SCRIPT.parents[1] / folder / "Makefile"), target]
    given = environment | {"ARTIFACTS_DIR": "artifacts"}
    told = subprocess.run(command, cwd=tmp_path, env=given, capture_output=True, text=True, check=True).stdout
    called = {line.split()[0] for line in told.splitlines() if "python3.13" in line.split()[0]}
    assert called == {str(python)}
