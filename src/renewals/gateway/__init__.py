"""The payment gateway: what the charge asks of a gateway, and Stripe behind that."""
