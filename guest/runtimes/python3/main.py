"""Starts the Python runtime in a container."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parent))
    from stoker_runtime.runtime import run  # pyright: ignore[reportMissingImports, reportUnknownVariableType] - see above

    run()
