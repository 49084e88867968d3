"""Commands for people, run from a checkout: `python -m scripts.NAME`. What they share with the functions is in src."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))
