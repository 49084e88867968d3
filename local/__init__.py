"""The local stack: what stands in for AWS, the payment gateway and the customer's mailbox. Never deployed.

What its commands share with the functions is in src.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))
