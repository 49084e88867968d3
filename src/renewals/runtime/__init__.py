"""What the functions run on: AWS clients, settings, logs and metrics, the clock, DynamoDB's wire."""
