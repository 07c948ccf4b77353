"""The fleet, and where the next container goes."""
