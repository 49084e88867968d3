"""The function that makes and stores the receipt of a payment or a refund."""

import renewals  # noqa: F401  (before fpdf2: `renewals` turns the garbage collector off while a function starts)
