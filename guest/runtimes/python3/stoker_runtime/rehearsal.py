"""What loading a function takes, done once before there is one: whatever is slow only the first time is over then.

Without it OpenSSL's set-up alone cost every start 13 ms, and the first import from a directory 5 (under TCG, November
2026).
"""

import importlib
import os
import random
import ssl
import sys
import tempfile
import time
from pathlib import Path

from .function import decode_event, encode_response, find_handler

MODULE = "stoker_rehearsal"
SOURCE = '''"""Stands in for a function."""

import json


def handler(event, context):
    return {"event": event}
'''


def rehearse() -> None:
    """Loads and calls a function that does nothing, and leaves nothing of it."""
    time.tzset()
    random.seed()
    ssl.RAND_add(os.urandom(48), 48.0)
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / f"{MODULE}.py").write_text(SOURCE)
        sys.path.insert(0, directory)
        try:
            handler = find_handler(f"{MODULE}.handler")
            encode_response(handler(decode_event(b'{"name": "rehearsal"}', "application/json"), None))  # pyright: ignore[reportArgumentType] - this one needs no context
        finally:
            sys.path.remove(directory)
            sys.modules.pop(MODULE, None)
            sys.path_importer_cache.pop(directory, None)
            importlib.invalidate_caches()
