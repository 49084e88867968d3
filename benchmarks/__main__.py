"""Measure, and write benchmarks/results.json, docs/performance.md, docs/cost.md and the charts: `make bench`."""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import built, cost, end_to_end, receipts, seed, start_up
from benchmarks.report import write
from local.progress import step
from local.stack import Stack, StackError, free_port

ROOT = built.ROOT
_LIBRARIES = (
    *("aws-lambda-powertools", "aws-xray-sdk", "boto3", "botocore", "fonttools", "fpdf2", "pydantic", "reportlab"),
    "stripe",
)
_LOADS = (end_to_end.Load(100, 1), end_to_end.Load(100, 8))
_WARM_UP, _ROUNDS = 40, 3
_ROWS = (1_000, 10_000, 100_000)
_PERIODS = (1, 12, 120, 3_650)
_GROWTH_SECONDS = 900


def main() -> None:
    folder = ROOT / ".local/bench"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        renewed = _renewals(folder / "artifacts")
    except (StackError, end_to_end.NotRenewedError) as problem:
        sys.exit(str(problem))
    functions = built.functions(folder / "artifacts")
    locked = dict(re.findall(r"(?m)^([a-z0-9-]+)==(\S+)", (ROOT / "requirements-dev.txt").read_text()))
    emulator = re.findall(r"(?m)^ministack==(\S+)", (ROOT / "local/requirements-emulator.txt").read_text())
    measured: dict[str, Any] = {
        "measured": {
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
            "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
            "python": platform.python_version(),
            "libraries": {name: locked[name] for name in _LIBRARIES} | {"MiniStack": emulator[0]},
        },
        "memory": {name: function.memory for name, function in functions.items()},
        "renewals": renewed,
        "start_up": _start_up(functions),
        "sizes": _sizes(folder / "artifacts", functions),
        "receipts": _receipts(functions["generate_receipt"], folder),
        "growth": _growth(),
        "page": json.loads(_with_the_tests_fakes("benchmarks.page")),
    }
    (ROOT / "benchmarks/results.json").write_text(json.dumps(measured, indent=1, ensure_ascii=False) + "\n")
    before = seed.measured(measured["measured"]["machine"])
    write(measured, before, ROOT / "docs")
    cost.write(measured, before, ROOT / "docs")
    shutil.rmtree(folder)


def _renewals(artifacts: Path) -> dict[str, Any]:
    """Measure renewals on a new local stack, and leave the stack's built artifacts in the folder."""
    with Stack(free_port(), Environment="prod") as stack:
        shutil.copytree(stack.artifacts_folder, artifacts, copy_function=os.link)
        shop = end_to_end.Shop(stack)
        with step("a renewal's calls"):
            calls = end_to_end.calls(shop)
            units = json.loads(_with_the_tests_fakes("benchmarks.units"))
            calls["process_payment"] |= units.pop("gateway")
        in_flight = {}
        for load in _LOADS:
            with step(f"{_ROUNDS} times {load.renewals} renewals, {load.in_flight} in flight"):
                end_to_end.run(shop, end_to_end.Load(_WARM_UP, load.in_flight))
                runs = [end_to_end.run(shop, load) for _ in range(_ROUNDS)]
                in_flight[str(load.in_flight)] = end_to_end.median_of(runs)
        return {"in_flight": in_flight, "calls": calls, "units": units} | end_to_end.sizes(shop, load.renewals)


def _start_up(functions: dict[str, built.Function]) -> dict[str, Any]:
    with step("instructions of the start-ups"), ThreadPoolExecutor(os.cpu_count()) as pool:
        counted = list(pool.map(start_up.instructions_of, functions.values()))
    starts = {}
    for (name, function), instructions in zip(functions.items(), counted, strict=True):
        with step(f"start-up of {name}"):
            starts[name] = asdict(start_up.of_function(function, instructions))
    boto3 = 'import boto3; boto3.client("dynamodb")'
    with step("start-up of Python and boto3"):
        starts["bare Python"] = asdict(start_up.of_command(start_up.BARE_PYTHON, "pass"))
        starts[boto3] = asdict(start_up.of_command(start_up.PYTHON, boto3))
    return starts


def _sizes(artifacts: Path, functions: dict[str, built.Function]) -> dict[str, Any]:
    with step("sizes"), TemporaryDirectory() as folder:
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
    with step("receipts"), TemporaryDirectory(dir=folder) as laid_out:
        path = os.pathsep.join(map(str, function.lay_out(Path(laid_out))))
        measured = {}
        for script in receipts.NAMES:
            measured[script] = _receipt(start_up.BARE_PYTHON, {"PYTHONPATH": path}, "ours", script)
            if script in receipts.FONTS:
                measured[f"{script}, reportlab"] = _receipt(start_up.PYTHON, dict(os.environ), "reportlab", script)
    return measured


def _receipt(python: Path, environment: dict[str, str], by: str, script: str) -> Any:
    command = [str(python), receipts.__file__, by, script]
    return json.loads(subprocess.run(command, env=environment, capture_output=True, timeout=120, check=True).stdout)


def _growth() -> dict[str, Any]:
    kinds = {"audit": _ROWS, "sweep": _ROWS, "history": _PERIODS}
    asked = [(kind, str(count)) for kind, counts in kinds.items() for count in reversed(counts)]  # longest runs first
    with step("growth of sweep, audit and history"), ThreadPoolExecutor(os.cpu_count()) as pool:
        said = pool.map(lambda arguments: _with_the_tests_fakes("benchmarks.growth", *arguments), asked)
        figures = {of: json.loads(each) for of, each in zip(asked, said, strict=True)}
    return {kind: {str(count): figures[kind, str(count)] for count in counts} for kind, counts in kinds.items()}


def _with_the_tests_fakes(*module_and_arguments: str) -> str:
    """Run a module in the environment of the tests, and return the last line of its output: earlier lines are the
    functions' metrics."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(("src", "layers/receipt", ".")),
        "POWERTOOLS_METRICS_NAMESPACE": "bench",
    }
    command = [str(start_up.PYTHON), "-m", *module_and_arguments]
    ended = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=_GROWTH_SECONDS, check=True
    )
    return ended.stdout.splitlines()[-1]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else ():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
