#!/bin/sh
# Checks the security of the project: the template, GitHub's workflows, the dependencies. Only the check of the
# dependencies needs internet; without internet the check says that it did not run.
set -u
failed=0
checks=.envs/checks/bin
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

echo "== checkov"
.venv/bin/python -m scripts.transformed >"$made/template.json" \
    && CKV_SKIP_PACKAGE_UPDATE_CHECK=true CKV_PARSE_ERROR_FAIL=true LOG_LEVEL=ERROR \
        "$checks/checkov" --config-file scripts/checkov.yaml --file "$made/template.json" || failed=1
echo "== zizmor"
"$checks/zizmor" --offline --no-progress --quiet --strict-collection .github || failed=1
echo "== check-jsonschema"
"$checks/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml || failed=1
echo "== pip-audit"
.venv/bin/python -m scripts.audit_dependencies || failed=1
exit "$failed"
