"""For whoever is on call: `python -m scripts.oncall COMMAND`, as docs/runbook.md says."""
