"""`make check` and the hook before a commit run the checks that the project needs."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_transformed_template_is_what_is_linted() -> None:
    """Both `make check` and the pre-commit hook run the check of the transformed template;
    tests/integration/test_check.py sees the check find faults."""
    assert 'check "cfn-lint" scripts/check_transformed.sh' in (ROOT / "scripts/check.sh").read_text()
    assert "entry: scripts/check_transformed.sh" in (ROOT / ".pre-commit-config.yaml").read_text()


def test_profiles_of_aws_login_work() -> None:
    """Profiles made by `aws login` need botocore's crt extra: without the extra our commands end with
    MissingDependencyException, though `sam deploy` works."""
    assert "boto3[crt]" in (ROOT / "requirements-dev.in").read_text()
    assert "\nawscrt==" in (ROOT / "requirements-dev.txt").read_text()
