#!/bin/sh
# Runs cfn-lint on a template after SAM's transformation: template.yaml, or the named template. Before the transformation
# cfn-lint ignores SAM's resources: a timeout of 3000 seconds would pass. W1020 is ignored: SAM itself writes needless
# Fn::Sub.
set -u
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
.venv/bin/python -m scripts.transformed "$@" >"$made/template.json" && .venv/bin/cfn-lint -i W1020 -- "$made/template.json"
