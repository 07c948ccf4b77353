"""One host's virtual machines, containers and code."""

import os

# gRPC looks for it when it is imported. uvloop forks to start a process, which becomes that one at once: there is
# nothing for gRPC to do then, and it would say so in the log in words of its own.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
