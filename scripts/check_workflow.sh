#!/bin/sh
# Checks the workflow against the grammar of the Amazon States Language. The emulator does not check the grammar.
set -eu
"${MAKE:-make}" --no-print-directory --silent node_modules/.made
exec node_modules/.bin/asl-validator --json-path statemachine/renewal.asl.json
