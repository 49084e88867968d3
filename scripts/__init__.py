"""Commands for people, run from a checkout: `python -m scripts.NAME`. Code shared with the functions lives in src."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
