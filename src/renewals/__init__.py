"""The domain that every function shares: money, periods, subscriptions, the ledger and the gateway port."""
