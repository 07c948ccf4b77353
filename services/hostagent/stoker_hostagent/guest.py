"""One VM's guest agent, as typed calls."""

from collections.abc import Sequence

from stoker_hostagent.guest_messages import Code, Failure, GuestContainer, Invocation, InvokeResult


class Guest:
    """The guest agent of one VM.

    Every call raises `StokerError`: GUEST_UNREACHABLE where the guest cannot be reached or does not answer in time (what
    was asked for may have happened), `GUEST_<gRPC code>` (GUEST_NOT_FOUND, …) where the guest agent refused. Cancelling
    a call cancels it in the guest; a running invocation's container is killed then.
    """

    async def create_container(self, container: str, runtime: str, memory_mib: int, tmp_mib: int) -> None:
        """Makes a blank container: the language runtime started, no code loaded."""
        raise NotImplementedError

    async def load_code(self, container: str, code: Code) -> Failure | None:
        """Binds code into a blank container and imports the handler.

        Returns the function's failure where it could not be loaded; the container is destroyed then.
        """
        raise NotImplementedError

    async def invoke(self, invocation: Invocation) -> InvokeResult:
        """Runs an invocation in a loaded container."""
        raise NotImplementedError

    async def destroy_container(self, container: str) -> None:
        """Kills a container and removes all it left. An unknown container is no error."""
        raise NotImplementedError

    async def list_containers(self) -> Sequence[GuestContainer]:
        """Lists the containers, as after a restart of the host agent."""
        raise NotImplementedError
