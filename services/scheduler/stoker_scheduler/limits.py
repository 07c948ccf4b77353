"""How many invocations functions and tenants may run at once.

What counts is what may run: each leased container as many as its lease allows (the version's `concurrency`, or less),
whether or not the frontend that has it is running so many now, and each demand that waits as many as its lease will
allow. So what is over a limit is refused at once, before it waits, and what waits will not be over it when its turn
comes. The last lease that fits allows fewer invocations where there is no room for as many as the version could run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from stoker_scheduler import errors
from stoker_scheduler.machines import FunctionKey, Version
from stoker_scheduler.waiting import Ticket


class Usage:
    """How many invocations may run now, under leases and for demands that wait."""

    def __init__(self) -> None:
        self._of_function: dict[FunctionKey, int] = {}
        self._of_tenant: dict[str, int] = {}

    def of_function(self, function: FunctionKey) -> int:
        """How many of a function."""
        return self._of_function.get(function, 0)

    def of_tenant(self, tenant: str) -> int:
        """How many of a tenant."""
        return self._of_tenant.get(tenant, 0)

    def change(self, function: FunctionKey, by: int) -> None:
        """Adds so many of a function, or, below 0, takes them away."""
        of_function, of_tenant = self.of_function(function) + by, self.of_tenant(function[0]) + by
        self._of_function[function], self._of_tenant[function[0]] = of_function, of_tenant
        if not of_function:
            del self._of_function[function]
        if not of_tenant:
            del self._of_tenant[function[0]]


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """How many invocations tenants may run at once."""

    standard: int
    own: Mapping[str, int] = field(default_factory=dict[str, int])
    """Those of tenants that have their own."""

    def of(self, tenant: str) -> int:
        """A tenant's limit."""
        return self.own.get(tenant, self.standard)


class Admission:
    """Takes demands in, within the limits."""

    def __init__(self, usage: Usage, tenants: TenantLimits, maximum: Callable[[FunctionKey], int]) -> None:
        """Begins without any.

        Args:
            usage: What runs already. Leases are counted by their table.
            tenants: The tenants' limits.
            maximum: Tells a function's limit; 0 for as many as its tenant may.
        """
        self._usage = usage
        self._tenants = tenants
        self._maximum = maximum
        self._admitted: dict[Ticket, int] = {}

    def room(self, version: Version, replaced: int = 0) -> int:
        """How many invocations a lease for one more demand would allow, at least 1.

        Args:
            version: What is wanted.
            replaced: How many invocations may run under leases that end when this one is there. For as long as their
                last invocations take, both may run.

        Raises:
            StokerError: FUNCTION_CONCURRENCY, TENANT_CONCURRENCY.
        """
        maximum = self._maximum(version.key)
        of_function = maximum - self._usage.of_function(version.key) + replaced if maximum else version.concurrency
        if of_function < 1:
            raise errors.function_limit(version.function, maximum)
        limit = self._tenants.of(version.tenant)
        of_tenant = limit - self._usage.of_tenant(version.tenant) + replaced
        if of_tenant < 1:
            raise errors.tenant_limit(version.tenant, limit)
        return min(version.concurrency, of_function, of_tenant)

    def admit(self, ticket: Ticket, room: int) -> None:
        """Counts a demand, whose lease will allow so many invocations."""
        self._admitted[ticket] = room
        self._usage.change(ticket.demand.version.key, room)

    def allowed(self, ticket: Ticket) -> int:
        """How many invocations a demand's lease allows."""
        return self._admitted.get(ticket, ticket.demand.version.concurrency)

    def settle(self, ticket: Ticket) -> None:
        """Counts a demand no more, as it has a lease or has given up; one that is not counted is no error."""
        if room := self._admitted.pop(ticket, 0):
            self._usage.change(ticket.demand.version.key, -room)
