"""Starts the guest agent: `python3 -I -S -B /usr/lib/stoker/agent/main.py`, as PID 1."""

import sys

LIBRARIES = ("/usr/lib/stoker", "/usr/lib/python3/dist-packages")
"""Where the agent is, and Debian's protobuf library, which `-S` leaves out to start sooner."""

if __name__ == "__main__":
    sys.path.extend(LIBRARIES)
    # asyncio would load it, which takes 0.1 s under TCG, and does without. Nothing here leaves the VM.
    sys.modules["ssl"] = None  # pyright: ignore[reportArgumentType] - so a module is made unimportable
    from agent.start import start

    start()
