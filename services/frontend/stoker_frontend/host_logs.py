"""The log lines of one host, read from its agent."""

from collections.abc import AsyncGenerator

import grpc.aio
from stoker_protos.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc
from stoker_service.channels import open_channel
from stoker_service.status import error_from_rpc

from stoker_frontend.logs import LogLine

KEPT_S = 10.0
"""How long a host may take to send the lines that it keeps, in seconds."""


class HostLogReader:
    """Reads any host's lines, each time on a connection of its own: it is done seldom."""

    async def read(
        self, address: str, tenant: str, function: str, *, limit: int, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        """Yields a host's kept lines, oldest first, then, with `follow`, new ones.

        Raises:
            StokerError: The host cannot be read.
        """
        request = hostagent_pb2.ReadLogsRequest(tenant=tenant, function=function, limit=limit, follow=follow)
        async with open_channel(address) as channel:
            agent = hostagent_pb2_grpc.HostLogServiceStub(channel)
            try:
                async for response in agent.ReadLogs(request, timeout=None if follow else KEPT_S):
                    entry = response.entry
                    yield LogLine(
                        entry.time.ToNanoseconds(),
                        entry.version,
                        entry.invocation_id,
                        entry.container,
                        entry.stream,
                        entry.line,
                    )
            except grpc.aio.AioRpcError as failure:
                raise error_from_rpc(failure) from failure
