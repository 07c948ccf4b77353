"""The services' logs, silenced while they run in a simulation."""

import logging
from collections.abc import Generator
from contextlib import contextmanager

import structlog


@contextmanager
def quiet_logs() -> Generator[None]:
    """Lets only what is critical through, and afterwards what was let through before."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
