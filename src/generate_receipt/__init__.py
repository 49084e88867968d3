"""The function that makes the receipt of a payment and stores it."""

import renewals  # noqa: F401  (before fpdf2: it keeps the garbage collector out of a function's start)
