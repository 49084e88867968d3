"""The payment gateway: the port for the charge, and the implementation with Stripe."""
