"""The Python runtime of Stoker's containers."""
