"""The function that makes the receipt of a payment and stores it."""
