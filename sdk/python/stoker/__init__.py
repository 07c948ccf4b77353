"""The client and the command line of Stoker.

    import stoker

    with stoker.Client() as client:
        client.deploy("hello", "examples/hello-python", runtime="python3", handler="main.handler")
        print(client.invoke("hello", {"name": "you"}).raise_for_error().json())

`stoker.aio.Client` is the same for asyncio. What calls return is in `stoker.models`, what they raise in
`stoker.errors`.
"""

from typing import TYPE_CHECKING, Any

from stoker.errors import FunctionFailed, StokerError

if TYPE_CHECKING:
    from stoker.client import Client

__all__ = ["Client", "FunctionFailed", "StokerError"]


def __getattr__(name: str) -> Any:
    # The client takes 0.2 s to import, for gRPC; the command line's `--help` does without.
    if name == "Client":
        from stoker.client import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
