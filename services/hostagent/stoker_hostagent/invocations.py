"""The life of an invocation on its host: check the lease, run it in the guest, let the container go or destroy it."""

import asyncio
from collections.abc import Callable

import structlog
from stoker_service.errors import StokerError

from stoker_hostagent import errors
from stoker_hostagent.activity import Activity
from stoker_hostagent.container_life import ContainerGuest, ContainerLife
from stoker_hostagent.containers import Container, ContainerGoneReason, Containers
from stoker_hostagent.guest_messages import Invocation, InvokeResult
from stoker_hostagent.runs import Finished, Order
from stoker_hostagent.tracing import invocation_span

log = structlog.get_logger()

MAX_RESPONSE_BYTES = 6 * 1024 * 1024
LOG_TAIL_BYTES = 4096


class Invocations:
    """Runs invocations, as many at a time in each container as its version says."""

    def __init__(
        self,
        containers: Containers,
        life: ContainerLife,
        guest_of: Callable[[str], ContainerGuest],
        activity: Activity,
    ) -> None:
        """Runs what is ordered in `containers`, by the guest agents that `guest_of` finds by their VMs' ids."""
        self._activity = activity
        self._containers = containers
        self._life = life
        self._guest_of = guest_of

    async def run(self, order: Order) -> Finished:
        """Runs an invocation. When its end is not known, its container is destroyed.

        So it is when it is cancelled, where it had the container to itself.

        Raises:
            StokerError: LEASE_STALE: nothing ran; CONTAINER_LOST: it may have run.
        """
        container = self._containers.take(order.container, order.lease_id)
        is_lost = True
        try:
            with self._activity.under_way(container.vm):
                result = await self._run(container, order)
            is_lost = result.is_container_lost
        except StokerError as error:
            log.warning("invocation.lost", container=container.id, invocation_id=order.invocation_id, error=str(error))
            raise errors.container_lost(container.id, error.message) from error
        except asyncio.CancelledError:
            # Where others run in the container the guest cancels this one alone, and tells when that ends them all.
            is_lost = container.version.concurrency == 1
            raise
        finally:
            if is_lost:
                self._life.destroy_soon(container.id, ContainerGoneReason.KILLED)
            else:
                self._containers.give_back(container.id)
        return Finished(
            result.payload,
            result.content_type,
            result.failure,
            result.run_ns / 1e6,
            result.log_tail[-LOG_TAIL_BYTES:] if order.log_tail else b"",
            result.is_container_lost,
        )

    async def _run(self, container: Container, order: Order) -> InvokeResult:
        with invocation_span(container, order) as span:
            result = await self._guest_of(container.vm).invoke(
                Invocation(
                    container=container.id,
                    id=order.invocation_id,
                    payload=order.payload,
                    content_type=order.content_type,
                    timeout_ms=max(1, min(order.timeout_ms, container.version.timeout_s * 1000)),
                    traceparent=span.traceparent,
                    max_response_bytes=MAX_RESPONSE_BYTES,
                )
            )
            span.add_guest_spans(result.spans)
        return result
