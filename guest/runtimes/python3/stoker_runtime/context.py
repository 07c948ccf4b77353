"""What a handler is told beside its event."""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


@dataclass(slots=True)
class Context:
    """One invocation. It is not frozen, since a frozen one takes three times as long to make."""

    function_name: str
    function_version: str
    invocation_id: str
    tenant: str
    memory_limit_mib: int
    log_stream: str
    traceparent: str
    """The W3C trace context that the function's own spans belong under; empty for none."""
    timeout_ms: int
    _begun_s: float = field(default_factory=time.monotonic, repr=False)

    @property
    def deadline(self) -> datetime:
        """When the handler will be killed, in UTC."""
        return datetime.now(UTC) + timedelta(milliseconds=self.remaining_ms())

    def remaining_ms(self) -> int:
        """How many milliseconds the handler has left, never below 0."""
        return max(0, self.timeout_ms - int((time.monotonic() - self._begun_s) * 1000))

    def get_remaining_time_in_millis(self) -> int:
        """The same as `remaining_ms`, by the name that AWS Lambda has for it."""
        return self.remaining_ms()
