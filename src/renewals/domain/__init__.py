"""The concepts and rules of a renewal: billing periods, money, dunning, mails, refunds. The package reads and writes
nothing."""
