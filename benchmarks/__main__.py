"""Measures and writes benchmarks/results.json, docs/performance.md and its chart: `make bench`."""

import json
import os
import platform
import re
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import built, receipts, start_up
from benchmarks.report import write

ROOT = built.ROOT
_LIBRARIES = ("aws-lambda-powertools", "aws-xray-sdk", "boto3", "botocore", "fonttools", "fpdf2", "reportlab", "stripe")


def main() -> None:
    folder = ROOT / ".local/bench"
    folder.mkdir(parents=True, exist_ok=True)
    print("sam build")
    artifacts = built.build(folder)
    functions = built.functions(artifacts)
    locked = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / "requirements-dev.txt").read_text()))
    measured = {
        "measured": {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
            "python": platform.python_version(),
            "libraries": {name: locked[name] for name in _LIBRARIES},
        },
        "start_up": _start_up(functions),
        "sizes": _sizes(artifacts, functions),
        "receipts": _receipts(functions["generate_receipt"], folder),
    }
    (ROOT / "benchmarks/results.json").write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
    write(measured, ROOT / "docs")


def _start_up(functions: dict[str, built.Function]) -> dict[str, Any]:
    starts = {}
    for name, function in functions.items():
        print("start-up of", name)
        starts[name] = asdict(start_up.of_function(function))
    print("start-up of Python and boto3")
    starts["bare Python"] = asdict(start_up.of_command(start_up.BARE_PYTHON, "pass"))
    boto3 = 'import boto3; boto3.client("dynamodb")'
    starts[boto3] = asdict(start_up.of_command(start_up.PYTHON, boto3))
    return starts


def _sizes(artifacts: Path, functions: dict[str, built.Function]) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        sizes = {
            part.name: {"zip": built.zipped(part, Path(folder) / "zip"), "unzipped": built.unzipped(part)}
            for part in sorted(artifacts.iterdir())
            if part.is_dir()
        }
    for name, function in functions.items():
        parts = [sizes[part.name] for part in (function.code, *function.layers)]
        sizes[f"{name} with its layers"] = {kind: sum(part[kind] for part in parts) for kind in ("zip", "unzipped")}
    return sizes


def _receipts(function: built.Function, folder: Path) -> dict[str, Any]:
    with TemporaryDirectory(dir=folder) as laid_out:
        path = os.pathsep.join(map(str, function.lay_out(Path(laid_out))))
        measured = {}
        for script in receipts.NAMES:
            print("receipt,", script)
            measured[script] = _receipt(start_up.BARE_PYTHON, {"PYTHONPATH": path}, "ours", script)
            if script in receipts.FONTS:
                measured[f"{script}, reportlab"] = _receipt(start_up.PYTHON, dict(os.environ), "reportlab", script)
    return measured


def _receipt(python: Path, environment: dict[str, str], by: str, script: str) -> Any:
    command = [str(python), receipts.__file__, by, script]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, timeout=120, check=True).stdout)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
