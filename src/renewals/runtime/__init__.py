"""The runtime of the functions: AWS clients, settings, logs and metrics, the clock, DynamoDB's wire format."""
