"""The local stack: what stands in for AWS, the payment gateway and the customer's mailbox. Never deployed."""
