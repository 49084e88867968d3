"""docs/performance.md and its charts, from the measurements."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

# part of the results, name within the part, kind: (limit, aim)
TARGETS = {
    ("start_up", "webhook_handler", "instructions"): (900, 600),
    ("start_up", "process_payment", "instructions"): (1350, 950),
    ("start_up", "generate_receipt", "instructions"): (1600, 1250),
    ("start_up", "send_email", "instructions"): (1000, 650),
    ("sizes", "webhook_handler with its layers", "zip"): (4, 2),
    ("sizes", "generate_receipt with its layers", "unzipped"): (40, 32),
    ("receipts", "Latin-1", "warm_ms"): (3, 1.5),
    ("receipts", "Cyrillic", "warm_ms"): (16, 10),
}
# figure of a renewal, with one in flight: (limit, aim), as multiples of the seed's figure
RATIOS = {"workflow_p50_ms": (2.0, 1.0), "handlers_cpu_ms": (3.0, 1.5)}
_FIGURES = {
    "instructions": "start-up of {}, M instructions",
    "zip": "{}, zipped, MB",
    "unzipped": "{}, unzipped, MB",
    "warm_ms": "receipt in {}, warm, ms",
}
_RENEWALS = {
    "webhook_p50_ms": "webhook, p50, ms",
    "webhook_p95_ms": "webhook, p95, ms",
    "workflow_p50_ms": "workflow, p50, ms",
    "workflow_p95_ms": "workflow, p95, ms",
    "handlers_cpu_ms": "processor time of the functions for one renewal, ms",
    "renewals_per_s": "renewals a second",
}
_MILLIONS = {"instructions", "zip", "unzipped"}

TEXT = """\
# Performance

Written by `make bench` on {date}, on {machine}.

Python {python}; {libraries}.

Times are processor times, the least of several runs; times of a renewal are medians of three rounds of a hundred
renewals. Instructions are counted by valgrind, and repeat to within a thousandth.
`tests/integration/test_ceilings.py` keeps instructions and sizes below their limits.

![Instructions to the first call of AWS](performance.png)

## Limits, aims and measured figures

{targets}

The reasons for the missed aims:

- **Start-up.** Importing botocore alone takes 610 M instructions, more than half of them for urllib3 and the modules of
  Python that urllib3 needs. fpdf2 with fontTools adds 700 M, and the Stripe SDK adds 150 M. Only a different client of
  AWS, or stand-ins for modules of a library, would take less.
- **Archive.** In the webhook's archive, botocore takes 0.95 MB, the time zones take 0.31 MB, and the function with its
  sources takes 0.46 MB.
- **A renewal compared with the seed's.** The limit of two times was set when the seed had been measured on an unchanged
  emulator, with half of the time spent in waiting. On this project's emulator a renewal misses the limit. The workflow
  of a renewal calls AWS {aws_calls} times and the gateway twice; the seed's workflow calls AWS 5 times. The other calls
  carry the promises: the claim, the payment's id before the money moves, the record, the receipt, and the records
  before and after the mail. A call takes a millisecond or more in botocore, a tenth of the millisecond for X-Ray's
  record, which the seed does without, and about as long in the emulator. Only a different client of AWS, or a promise
  less, would take less. {publisher_ms} ms of the processor time are EventPublisher's, which tells an application of the
  renewal; the seed tells nobody. Without EventPublisher the ratio would be {without_publisher} (the limit is 3.0).
- **Receipts.** fpdf2 draws 34 texts and five shapes, at 50 µs each. A script other than Latin adds the reading of its
  font, and the cutting of the font to the drawn glyphs. The time for both grows with the number of glyphs in the font,
  and therefore Greek and Cyrillic have fonts of their own.

## A renewal end to end

On the local stack, warm: webhook, charge, receipt, mail. The renewal is compared with the design replaced by this
system (the seed), whose Node.js handlers charge nobody, make no PDF, check no signature and call AWS six times. The
seed's figures are recorded in [seed_design.json](../benchmarks/seed_design.json), measured on {seed_date} on
{seed_machine}, with Node.js {seed_node} and MiniStack {seed_ministack}. Both sides ran on this project's emulator
with IAM enforced, and either side on a fresh stack, because an emulator slows down by a fifth after some 2,000
renewals. The seed was measured before uvicorn served the emulator (D334): the times of its workflow are too long by an
unknown part. A client waits for the end of its renewal before the client sends the next. The environment variable
`SEED_RESULT` names a file with a later measurement of the seed.

{renewals}

Processor time by function, one in flight: {by_function}.

Calls for one renewal, without those of event_publisher: {calls}.

## Growth

![Time by count](growth.png)

The measurements run over tables in memory, in one process, and do not count the tables' own work. Memory is the peak of
Python's memory beside the tables.

{growth}

A subscription's next renewal, its timeline and its first page in the API, by the number of earlier periods:

{history}

A renewal reads the latest ten periods, the timeline reads the latest 250, and a page reads 50. With more periods than
these, nothing grows.

## Start-up

From the start of a process to the first call of AWS, with tracing, from the built artifacts laid out as on Lambda. A
function without processor time was counted later than the other functions, on a machine with other work: instructions
repeat on any machine, and times do not.

{start_up}

## Sizes

{sizes}

## Receipts

A receipt has one page. reportlab draws as many words and shapes with the same fonts, but reads no CFF fonts and does
not shape Arabic.

{receipts}
"""


def write(measured: dict[str, Any], seed: Mapping[str, Any], folder: Path) -> None:
    """Write performance.md, performance.png and growth.png."""
    (folder / "performance.md").write_text(text(measured, seed))
    _draw(measured["start_up"], folder / "performance.png")
    _draw_growth(measured["growth"], folder / "growth.png")


def text(measured: dict[str, Any], seed: Mapping[str, Any]) -> str:
    """Return the document."""
    about = measured["measured"]
    libraries = ", ".join(f"{name} {version}" for name, version in about["libraries"].items())
    one = measured["renewals"]["in_flight"]["1"]
    publisher_ms = one["event_publisher_cpu_ms"]
    return TEXT.format(
        **about | {"libraries": libraries},
        **{f"seed_{name}": value for name, value in seed["measured"].items()},
        targets=_table("figure | measured | limit | aim", [*_targets(measured), *_ratios(measured, seed)]),
        renewals=_table("| ours | the seed's | ×", _renewals(measured["renewals"]["in_flight"], seed["in_flight"])),
        by_function=", ".join(
            f"{name} {one[f'{name}_cpu_ms']:.1f} ms" for name in (*measured["renewals"]["calls"], "event_publisher")
        ),
        publisher_ms=f"{publisher_ms:.0f}",
        without_publisher=f"{(one['handlers_cpu_ms'] - publisher_ms) / seed['in_flight']['1']['handlers_cpu_ms']:.2f}",
        aws_calls=sum(
            count
            for name, calls in measured["renewals"]["calls"].items()
            for call, count in calls.items()
            if name != "webhook_handler" and not call.startswith("gateway:")
        ),
        calls=", ".join(f"{name} {sum(calls.values())}" for name, calls in measured["renewals"]["calls"].items()),
        growth=_table("| count | seconds | µs each | memory, MB", _growth(measured["growth"])),
        history=_table("periods | renewal, ms | timeline, ms | page, ms", _history(measured["growth"]["history"])),
        start_up=_table("| M instructions | CPU ms | × bare Python | files opened", _starts(measured["start_up"])),
        sizes=_table("| zip, MB | unzipped, MB", _sizes(measured["sizes"])),
        receipts=_table("| first, ms | warm, ms | bytes", _receipts(measured["receipts"])),
    )


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
        shown = f"{value:,.0f}" if kind == "instructions" else f"{value:,.1f}"
        yield figure, f"{shown}, {_verdict(value, must, aim)}", f"{must:,}", f"{aim:,}"


def _ratios(measured: dict[str, Any], seed: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    ours, theirs = measured["renewals"]["in_flight"]["1"], seed["in_flight"]["1"]
    for kind, (must, aim) in RATIOS.items():
        ratio = ours[kind] / theirs[kind]
        figure = f"{_RENEWALS[kind].removesuffix(', ms')}, one in flight, × the seed's"
        shown = f"{ratio:.2f} ({ours[kind]:.0f} ms to {theirs[kind]:.0f}), {_verdict(ratio, must, aim)}"
        yield figure, shown, f"{must:.1f}", f"{aim:.1f}"


def _verdict(value: float, must: float, aim: float) -> str:
    return "aim met" if value <= aim else "met" if value <= must else "**missed**"


def _renewals(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    for in_flight, figures in ours.items():
        for kind, figure in _RENEWALS.items():
            value, before = figures[kind], theirs[in_flight][kind]
            compared = (f"{before:.1f}", f"{value / before:.2f}") if before else ("not recorded", "")
            yield f"{figure}, {in_flight} in flight", f"{value:.1f}", *compared


def _growth(growth: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    for kind in ("sweep", "audit"):
        for count, figures in growth[kind].items():
            each = 1e6 * figures["seconds"] / int(count)
            yield kind, f"{int(count):,}", f"{figures['seconds']:.2f}", f"{each:.0f}", f"{figures['bytes'] / 1e6:.1f}"


def _history(history: Mapping[str, Any]) -> Iterable[Sequence[str]]:
    for periods, figures in history.items():
        yield f"{int(periods):,}", *(f"{figures[f'{kind}_ms']:.2f}" for kind in ("renewal", "timeline", "page"))


def _starts(starts: dict[str, Any]) -> Iterable[Sequence[str]]:
    bare = starts["bare Python"]["cpu_ms"]
    for name, start in starts.items():
        millions = "" if start["instructions"] is None else f"{start['instructions'] / 1e6:,.0f}"
        yield (
            f"`{name}`",
            millions,
            "" if start["cpu_ms"] is None else f"{start['cpu_ms']:.0f}",
            "" if start["cpu_ms"] is None else f"{start['cpu_ms'] / bare:.1f}",
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


def _draw_growth(growth: Mapping[str, Any], file: Path) -> None:
    figure, axes = plt.subplots(figsize=(8, 3.2))
    for kind, colour in (("sweep", "#0c7a55"), ("audit", "#1d4ed8")):
        counts = [int(count) for count in growth[kind]]
        axes.plot(counts, [each["seconds"] for each in growth[kind].values()], marker="o", color=colour, label=kind)
    axes.set(xscale="log", yscale="log", xlabel="subscriptions due, renewals audited", ylabel="seconds")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=120, metadata={"Software": None})
    plt.close(figure)
