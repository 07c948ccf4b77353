"""Calls about deliveries. See `calls.py`."""

from stoker_protos.v1 import deliveries_pb2

from stoker.calls import Stream, StreamOf
from stoker.deliveries import Delivery, DeliveryState, HostDelivery
from stoker.names import version_path

_STATES = {
    deliveries_pb2.HOST_DELIVERY_STATE_WAITING: DeliveryState.WAITING,
    deliveries_pb2.HOST_DELIVERY_STATE_FETCHING: DeliveryState.FETCHING,
    deliveries_pb2.HOST_DELIVERY_STATE_DELIVERED: DeliveryState.DELIVERED,
    deliveries_pb2.HOST_DELIVERY_STATE_FAILED: DeliveryState.FAILED,
}


def watch_delivery(function: str, number: int, timeout_s: float | None) -> StreamOf[Delivery]:
    """Follows the delivery of a version's code."""
    return Stream(
        lambda stubs: stubs.deliveries.WatchDelivery,
        deliveries_pb2.WatchDeliveryRequest(name=version_path(function, number)),
        _delivery,
        timeout_s,
    )


def _delivery(response: deliveries_pb2.WatchDeliveryResponse) -> Delivery:
    return Delivery([_host(host) for host in response.hosts], response.is_complete)


def _host(host: deliveries_pb2.HostDelivery) -> HostDelivery:
    return HostDelivery(
        host.host,
        _STATES.get(host.state, DeliveryState.UNKNOWN),
        host.source,
        host.lacking_bytes,
        host.fetched_bytes,
        host.message,
    )
