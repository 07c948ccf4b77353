"""Which domain is a VM's, and so what it means that one has ended. Pure.

A VM's domains follow each other under one name: the clone whose guest did not answer, then the one that is booted
instead. libvirt may tell that the first has ended when the second has long begun; only their UUIDs differ.
"""

import uuid
from enum import Enum


class Ended(Enum):
    """What it means for a VM that a domain of its name has ended."""

    NOTHING = "nothing"
    """It was an earlier domain, which was given up."""
    ATTEMPT = "attempt"
    """The domain was on trial: whoever tries it has to give it up."""
    VM = "vm"
    """The VM has ended with it."""


class VmDomain:
    """The domain of one VM."""

    def __init__(self) -> None:
        """Knows none: the VM has the domain that an earlier host agent has begun, whichever that is."""
        self._uuid: uuid.UUID | None = None
        self._is_on_trial = False

    def begin(self, *, is_on_trial: bool) -> uuid.UUID:
        """A new domain is about to start, whose UUID is returned. One on trial may end without the VM."""
        self._uuid = uuid.uuid4()
        self._is_on_trial = is_on_trial
        return self._uuid

    def accept(self) -> None:
        """The domain has passed its trial: from now on the VM ends with it."""
        self._is_on_trial = False

    def give_up(self) -> None:
        """The domain is of no use. What is heard of it from now on has no meaning, also before the next begins."""
        self.begin(is_on_trial=False)

    def ended(self, domain_uuid: str) -> Ended:
        """What it means that a domain of the VM's name has ended."""
        if self._uuid is not None and str(self._uuid) != domain_uuid:
            return Ended.NOTHING
        return Ended.ATTEMPT if self._is_on_trial else Ended.VM
