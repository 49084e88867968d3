"""The workflows of GitHub: a pull request gets nothing worth stealing, and only a review leads to production."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
type Json = Any
# YAML 1.1 reads the key `on` as the value true.
WORKFLOWS: dict[str, dict[Any, Json]] = {
    path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")
}
JOBS = {f"{name}.{job}": each for name, workflow in WORKFLOWS.items() for job, each in workflow["jobs"].items()}
STEPS = [step for job in JOBS.values() for step in job.get("steps", [])]


def test_a_job_may_do_only_what_its_purpose_needs() -> None:
    """By default a job may do nothing. Two jobs deploy: they may read the code, and ask AWS in the name of their
    environment. One job may write a branch and open a pull request. All other jobs may read the code."""
    assert [workflow["permissions"] for workflow in WORKFLOWS.values()] == [{}] * len(WORKFLOWS)
    reads = {"contents": "read"}
    more = {name: job["permissions"] for name, job in JOBS.items() if job["permissions"] != reads}
    deploys = reads | {"id-token": "write"}
    assert more == {
        "deploy.staging": deploys,
        "deploy.prod": deploys,
        "locks.renew": {"contents": "write", "pull-requests": "write"},
    }
    assert {name: JOBS[name]["environment"] for name in more if name.startswith("deploy.")} == {
        "deploy.staging": "staging",
        "deploy.prod": "prod",
    }


def test_the_job_that_may_write_runs_no_code_of_a_new_version() -> None:
    """The weekly job that renews the locks asks for newer versions without building a package or running a script of a
    package, and only its last step gets the token."""
    steps = JOBS["locks.renew"]["steps"]
    runs = [step["run"] for step in steps if "run" in step]
    assert runs[0] == "make lock UPGRADE='--upgrade --no-build'"
    assert runs[1].startswith("npm update --package-lock-only --ignore-scripts")
    assert [step for step in steps if "github.token" in str(step)] == steps[-1:]


def test_production_comes_after_staging_and_staging_after_the_tests() -> None:
    """Only merged code that passed the checks and all tests and stands on staging reaches production, also by hand; the
    only input of a run by hand switches off the alarms that take a deployment back."""
    assert set(WORKFLOWS["deploy"][True]) == {"push", "workflow_dispatch"}
    assert WORKFLOWS["deploy"][True]["push"] == {"branches": ["main"]}
    assert set(WORKFLOWS["deploy"][True]["workflow_dispatch"]["inputs"]) == {"no_alarms"}
    assert JOBS["deploy.ci"]["if"] == "github.ref == 'refs/heads/main'"
    canaries = [step for step in STEPS if "scripts/canary.py" in step.get("run", "")]
    assert [step["run"] for step in canaries] == [".venv/bin/python scripts/canary.py $ALARMS"] * 2
    assert [step["env"] for step in canaries] == [{"ALARMS": "${{ inputs.no_alarms && '--no-alarms' || '' }}"}] * 2
    assert (JOBS["deploy.staging"]["needs"], JOBS["deploy.prod"]["needs"]) == ("ci", "staging")
    assert JOBS["deploy.ci"]["uses"] == "./.github/workflows/ci.yml"
    assert set(WORKFLOWS["ci"][True]) == {"pull_request", "workflow_call"}
    assert {"make check", "make test"} <= {step.get("run") for step in STEPS}


def test_there_is_no_secret_to_steal() -> None:
    """No workflow names a secret, since a deployment assumes a role for an hour, and no checkout leaves a token."""
    text = "".join(path.read_text() for path in (ROOT / ".github").rglob("*.yml"))
    assert not re.search(r"secrets[.\[:]|access-key|pull_request_target|workflow_run", text)
    given = [step["with"] for step in STEPS if step.get("uses", "").startswith("aws-actions/")]
    assert given == [{"role-to-assume": "${{ vars.AWS_ROLE_ARN }}", "aws-region": "${{ vars.AWS_REGION }}"}] * 2
    checkouts = [step for step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert [step for step in checkouts if step["with"]["persist-credentials"] is not False] == []


@pytest.mark.parametrize("action", sorted({step["uses"] for step in STEPS if "uses" in step}))
def test_actions_are_pinned(action: str) -> None:
    """An action is pinned to a reviewed commit, not to a movable tag."""
    assert re.fullmatch(r"(actions|aws-actions)/[a-z-]+@[0-9a-f]{40}", action)


def test_the_environments_are_known() -> None:
    """Every deployment goes to the environment for which its job is reviewed."""
    for environment in ("staging", "prod"):
        runs = [step["run"] for step in JOBS[f"deploy.{environment}"]["steps"] if "sam " in step.get("run", "")]
        assert len(runs) == 2
        assert all(f"--config-env {environment}" in run for run in runs)
