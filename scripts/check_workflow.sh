#!/bin/sh
# The workflow against the grammar of the Amazon States Language, which the emulator does not check.
set -eu
"${MAKE:-make}" --no-print-directory --silent node_modules/.made
exec node_modules/.bin/asl-validator --json-path statemachine/renewal.asl.json
