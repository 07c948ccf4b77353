"""A thousand warm invocations: no error, and no service grows."""

import stoker

from tests.system.running_stoker import SERVICES, RunningStoker


def test_a_thousand_warm_invocations_leave_no_service_larger(
    system: RunningStoker, client: stoker.Client, hello: str
) -> None:
    for _ in range(100):
        client.invoke(hello, {"name": "warm up"}, timeout_s=120)
    before = {service: system.resident_bytes(service) for service in SERVICES}
    for number in range(1000):
        result = client.invoke(hello, {"name": str(number)}, timeout_s=60)
        assert result.function_error is None
    after = {service: system.resident_bytes(service) for service in SERVICES}
    assert {service: after[service] for service in SERVICES if after[service] > 1.1 * before[service]} == {}
