#!/bin/sh
# cfn-lint on what SAM makes of a template: template.yaml, or the one that is named. On a template with a transform it
# looks at no resource of SAM's, so that a timeout of 3000 seconds would pass. W1020: SAM's own needless Sub.
set -u
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT
.venv/bin/python -m scripts.transformed "$@" >"$made/template.json" && .venv/bin/cfn-lint -i W1020 -- "$made/template.json"
