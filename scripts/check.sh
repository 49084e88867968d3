#!/bin/sh
# Runs all checks, fast checks first. A failed check does not stop the others, but makes the whole command fail.
set -u
failed=0
python="src layers local scripts tests benchmarks"

check() {
    echo "== $1"
    shift
    "$@" || failed=1
}

# These checks take half of the time. They run in parallel, and their output is printed at the end.
guards=$(mktemp)
trap 'rm -f "$guards"' EXIT
scripts/check_guards.sh >"$guards" 2>&1 &
guarding=$!

check "ruff check" .venv/bin/ruff check $python
check "ruff format" .venv/bin/ruff format --check $python
check "prose" .venv/bin/python -m scripts.check_prose
check "cfn-lint" scripts/check_transformed.sh
if command -v npm >/dev/null; then
    check "asl-validator" scripts/check_workflow.sh
else
    echo "== asl-validator: not run. It needs Node.js, and there is no npm on PATH"
fi
check "sam validate" env SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-west-2 .venv/bin/sam validate --lint
check "mypy" .venv/bin/mypy
wait "$guarding" || failed=1
cat "$guards"
exit "$failed"
