"""The design replaced by this system, as a yardstick: Node.js handlers that charge nobody, make no PDF and check no
signature (a webhook, a workflow, one row written, a text file stored, one mail).

The code of the earlier design is not part of this repository. `seed_design.json` holds its measurements, with their day
and machine. SEED_RESULT may name the result of a later measurement, {"node", "ministack", "medians": {"closed_c1":
figures, "closed_c8": figures}}, whose figures then replace the recorded figures.
"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_RECORDED = Path(__file__).with_name("seed_design.json")
_FIGURES = {
    "webhook_p50_ms": "webhook_p50_ms",
    "webhook_p95_ms": "webhook_p95_ms",
    "workflow_p50_ms": "workflow_p50_ms",
    "workflow_p95_ms": "workflow_p95_ms",
    "handlers_cpu_ms": "handlers_cpu_ms_per_renewal",
    "renewals_per_s": "renewals_per_s",
}


def measured(machine: str) -> dict[str, Any]:
    """Return {"measured": {date, machine, node, ministack}, "in_flight": {"1": figures, "8": figures}, and the parts of
    the design}.

    machine: the present machine, on which a later measurement is assumed to have run.
    """
    found: dict[str, Any] = json.loads(_RECORDED.read_text())
    later = os.environ.get("SEED_RESULT")
    return found | _later(json.loads(Path(later).read_text()), machine) if later else found


def _later(result: Mapping[str, Any], machine: str) -> dict[str, Any]:
    in_flight = {
        count: {ours: result["medians"][f"closed_c{count}"][theirs] for ours, theirs in _FIGURES.items()}
        for count in ("1", "8")
    }
    about = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine}
    return {"measured": about | {name: result[name] for name in ("node", "ministack")}, "in_flight": in_flight}
