"""Commands for the person on call: `python -m scripts.oncall COMMAND`. See docs/runbook.md."""
