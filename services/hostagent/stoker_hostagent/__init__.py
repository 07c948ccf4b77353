"""One host's virtual machines, containers and code."""
