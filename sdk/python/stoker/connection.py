"""What the blocking and the asyncio client have in common: how a channel is set up, and what goes with each call."""

from collections.abc import Sequence

from stoker.settings import Settings
from stoker.traces import trace_metadata

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
CHANNEL_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A call that waits for minutes must notice that its server's machine is gone.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # What a client retries is decided in retries.py alone.
    ("grpc.enable_retries", 0),
)


def call_metadata(settings: Settings, *, is_admin: bool) -> tuple[tuple[str, str], ...]:
    """The metadata of a call: who calls, and in which trace.

    Raises:
        ConfigurationError: There is no key to call with.
    """
    return (("authorization", f"Bearer {settings.key(is_admin=is_admin)}"), *trace_metadata().items())
