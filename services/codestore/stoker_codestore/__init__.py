"""Functions, versions, aliases and artifacts."""
