"""docs/performance.md and its chart, from what was measured."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

# part of the results, name in it, kind: (what it must not exceed, what it aims at)
TARGETS = {
    ("start_up", "webhook_handler", "instructions"): (900, 600),
    ("start_up", "process_payment", "instructions"): (1350, 950),
    ("start_up", "generate_receipt", "instructions"): (1600, 1250),
    ("start_up", "send_email", "instructions"): (950, 650),
    ("sizes", "webhook_handler with its layers", "zip"): (4, 2),
    ("sizes", "generate_receipt with its layers", "unzipped"): (40, 32),
    ("receipts", "Latin-1", "warm_ms"): (3, 1.5),
    ("receipts", "Cyrillic", "warm_ms"): (16, 10),
}
_FIGURES = {
    "instructions": "start-up of {}, M instructions",
    "zip": "{}, zipped, MB",
    "unzipped": "{}, unzipped, MB",
    "warm_ms": "receipt in {}, warm, ms",
}
_MILLIONS = {"instructions", "zip", "unzipped"}

TEXT = """\
# Performance

Written by `make bench` on {date}, on {machine}.

Python {python}; {libraries}.

Times are the processor's, the least of several runs. Instructions are callgrind's, and repeat to within a thousandth;
`tests/integration/test_ceilings.py` holds them and the sizes under what they must not exceed.

![Instructions to the first call of AWS](performance.png)

## What it must reach, and does

{targets}

What stands in the way of the aims that are missed:

- **Start-up.** To import botocore alone is 610 M instructions, more than half of them urllib3 and the modules of Python
  that it needs; fpdf2 with fontTools adds 700 M, the Stripe SDK 150 M. Less would be another client of AWS, or
  stand-ins for modules of a library.
- **Archive.** Of the webhook's, botocore is 0.95 MB, time zones are 0.31, the function with its sources 0.30.
- **Receipts.** 34 texts and five shapes, at 50 µs each, are fpdf2's. A script of its own adds the reading of its font,
  and cutting that to what is drawn. That goes with the glyphs in the font: so Greek and Cyrillic have fonts of their
  own.

## Start-up

From the start of a process to the first call of AWS, tracing on, from the built artifacts laid out as on Lambda.

{start_up}

## Sizes

{sizes}

## Receipts

One page. reportlab draws as many words and shapes with the same fonts; it reads no CFF fonts and shapes no Arabic.

{receipts}
"""


def write(measured: dict[str, Any], folder: Path) -> None:
    """Write performance.md and performance.png."""
    about = measured["measured"]
    libraries = ", ".join(f"{name} {version}" for name, version in about["libraries"].items())
    text = TEXT.format(
        **about | {"libraries": libraries},
        targets=_table("figure | measured | must | aim", _targets(measured)),
        start_up=_table("| M instructions | CPU ms | × bare Python | files opened", _starts(measured["start_up"])),
        sizes=_table("| zip, MB | unzipped, MB", _sizes(measured["sizes"])),
        receipts=_table("| first, ms | warm, ms | bytes", _receipts(measured["receipts"])),
    )
    (folder / "performance.md").write_text(text)
    _draw(measured["start_up"], folder / "performance.png")


def _table(head: str, rows: Iterable[Sequence[str]]) -> str:
    columns = head.split("|")
    lines = [columns, ["---"] + ["--:"] * (len(columns) - 1), *rows]
    return "\n".join(f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines)


def _targets(measured: dict[str, Any]) -> Iterable[Sequence[str]]:
    for (part, name, kind), (must, aim) in TARGETS.items():
        figure = _FIGURES[kind].format(name)
        value = measured[part][name][kind]
        if value is None:
            yield figure, "not counted", f"{must:,}", f"{aim:,}"
            continue
        value = value / 1e6 if kind in _MILLIONS else value
        verdict = "aim met" if value <= aim else "met" if value <= must else "**missed**"
        shown = f"{value:,.0f}" if kind == "instructions" else f"{value:,.1f}"
        yield figure, f"{shown}, {verdict}", f"{must:,}", f"{aim:,}"


def _starts(starts: dict[str, Any]) -> Iterable[Sequence[str]]:
    bare = starts["bare Python"]["cpu_ms"]
    for name, start in starts.items():
        millions = "" if start["instructions"] is None else f"{start['instructions'] / 1e6:,.0f}"
        yield (
            f"`{name}`",
            millions,
            f"{start['cpu_ms']:.0f}",
            f"{start['cpu_ms'] / bare:.1f}",
            str(start["files"] or ""),
        )


def _sizes(sizes: dict[str, Any]) -> Iterable[Sequence[str]]:
    for name, size in sizes.items():
        yield name, f"{size['zip'] / 1e6:.2f}", f"{size['unzipped'] / 1e6:.2f}"


def _receipts(receipts: dict[str, Any]) -> Iterable[Sequence[str]]:
    for name, receipt in receipts.items():
        yield name, f"{receipt['first_ms']:.1f}", f"{receipt['warm_ms']:.1f}", f"{receipt['bytes']:,}"


def _draw(starts: dict[str, Any], file: Path) -> None:
    counted = {name: start["instructions"] / 1e6 for name, start in starts.items() if start["instructions"]}
    ceilings = {name: must for (part, name, _), (must, _) in TARGETS.items() if part == "start_up"}
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(counted) + 1))
    axes.barh([f"{name}   {count:,.0f}" for name, count in counted.items()], list(counted.values()), color="#0c7a55")
    for place, name in enumerate(counted):
        if name in ceilings:
            axes.plot([ceilings[name]] * 2, [place - 0.4, place + 0.4], color="#b91c1c")
    axes.invert_yaxis()
    axes.set_xlabel("million instructions to the first call of AWS; red: the ceiling")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=120, metadata={"Software": None})
    plt.close(figure)
