"""Stoker on this machine: its services as processes of their own, started and stopped by `stoker up` and `down`."""
