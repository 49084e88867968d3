"""Measurements of the system's cost and speed: `make bench`. Never deployed."""
