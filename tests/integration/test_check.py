"""`make check` finds and names planted faults."""

import json
import subprocess
from pathlib import Path

from scripts.transformed import written

ROOT = Path(__file__).parents[2]


def test_a_resource_of_sams_with_a_wrong_value_is_found(tmp_path: Path) -> None:
    """cfn-lint checks the template as transformed by SAM: on the template itself cfn-lint passes over SAM's own
    resources."""
    template = written()
    names = ("RenewalWorker", "RenewalQueue", "RenewalDeadLetterQueue")  # few resources, since a check takes seconds
    template["Resources"] = {name: template["Resources"][name] for name in names}
    template["Outputs"] = {}
    worker = template["Resources"]["RenewalWorker"]["Properties"]
    worker["Timeout"] = 3000
    worker["Events"]["Requests"]["Properties"]["ScalingConfig"] = {"MaximumConcurrency": 1}
    (tmp_path / "template.json").write_text(json.dumps(template))
    command = ["scripts/check_transformed.sh", str(tmp_path / "template.json")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert found.returncode != 0
    assert "3000 is greater than the maximum of 900" in found.stdout
    assert "1 is less than the minimum of 2" in found.stdout
