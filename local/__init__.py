"""The local stack: substitutes for AWS, the payment gateway and the customer's mailbox. Never deployed.

Code shared by the local stack's commands and the deployed functions lives in src.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
