"""Starts the guest agent: `python3 -I -S -B /usr/lib/stoker/agent/main.py`, as PID 1."""

import sys

LIBRARIES = ("/usr/lib/stoker", "/usr/lib/python3/dist-packages")
"""Where the agent is, and Debian's protobuf library, which `-S` leaves out to start sooner."""

if __name__ == "__main__":
    sys.path.extend(LIBRARIES)
    from agent.start import start

    start()
