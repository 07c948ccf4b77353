"""The client and the command line of Stoker."""
