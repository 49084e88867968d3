"""What the system costs, measured: `make bench`. Never deployed."""
