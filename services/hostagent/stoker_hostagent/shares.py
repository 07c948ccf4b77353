"""Directories of the host that guests see, read-only, by virtiofs."""

CODE = "code"
"""The share of a tenant's code: its virtiofs tag, and its name in the guest."""
