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


def test_only_a_deployment_to_an_environment_may_prove_who_it_is() -> None:
    """By default a job may do nothing; only the two deploying jobs may prove their environment's identity to AWS, and
    all jobs may only read the code."""
    assert [workflow["permissions"] for workflow in WORKFLOWS.values()] == [{}] * len(WORKFLOWS)
    asking = {name: job["environment"] for name, job in JOBS.items() if "id-token" in job["permissions"]}
    assert asking == {"deploy.staging": "staging", "deploy.prod": "prod"}
    assert [
        job for name, job in JOBS.items() if name not in asking and job["permissions"] != {"contents": "read"}
    ] == []


def test_production_comes_after_staging_and_staging_after_the_tests() -> None:
    """Only merged code that passed the checks and all tests and stands on staging reaches production, also by hand; the
    only input of a run by hand switches off the alarms that take a deployment back."""
    assert set(WORKFLOWS["deploy"][True]) == {"push", "workflow_dispatch"}
    assert WORKFLOWS["deploy"][True]["push"] == {"branches": ["main"]}
    assert set(WORKFLOWS["deploy"][True]["workflow_dispatch"]["inputs"]) == {"no_alarms"}
    assert JOBS["deploy.ci"]["if"] == "github.ref == 'refs/heads/main'"
    canaries = [step for step in STEPS if "scripts/canary.py" in step.get("run", "")]
    assert [step["run"] for step in canaries] == [".envs/sam/bin/python scripts/canary.py $ALARMS"] * 2
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
