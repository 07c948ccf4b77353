"""A real S3 server, SeaweedFS, for as long as a test session lasts."""

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

WEED = Path(sys.executable).with_name("weed")
BUCKET = "stoker-artifacts"
KEY, SECRET = "stoker", "stoker-secret"
STARTED_S = 60.0

_IDENTITIES = {
    "identities": [
        {
            "name": "stoker",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": [f"{action}:{BUCKET}" for action in ("Read", "Write", "List")],
        },
        # Makes the bucket, without a signature.
        {"name": "anonymous", "actions": ["Admin"]},
    ]
}


@dataclass(frozen=True, slots=True)
class S3:
    """A server that answers, with one bucket."""

    endpoint: str
    url: str

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables by which clients find it, and may use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }


@contextmanager
def running_s3() -> Generator[S3]:
    """Runs a server while the context is entered."""
    directory = Path(tempfile.mkdtemp(prefix="stoker-s3-"))
    (directory / "identities.json").write_text(json.dumps(_IDENTITIES))
    ports = _free_ports(8)
    options = {
        "dir": directory,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "master.port": ports[0],
        "master.port.grpc": ports[1],
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 64,
        "volume.port": ports[2],
        "volume.port.grpc": ports[3],
        "volume.max": 20,
        "filer": "true",
        "filer.port": ports[4],
        "filer.port.grpc": ports[5],
        "filer.localSocket": directory / "filer.sock",
        "s3": "true",
        "s3.port": ports[6],
        "s3.port.grpc": ports[7],
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "s3.localSocket": directory / "s3.sock",
        "s3.config": directory / "identities.json",
    }
    command = [WEED, "server", *(f"-{name}={value}" for name, value in options.items())]
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory)
    try:
        endpoint = f"http://127.0.0.1:{ports[6]}"
        _wait_until_healthy(server, f"{endpoint}/healthz")
        made = urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")  # noqa: S310 - http, to loopback
        with urllib.request.urlopen(made, timeout=STARTED_S):  # noqa: S310 - as above
            pass
        yield S3(endpoint, f"s3://{BUCKET}")
    finally:
        # It would take its time to end, and nothing it holds is wanted any more.
        server.kill()
        server.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _wait_until_healthy(server: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + STARTED_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - http, to loopback
                return
        except (urllib.error.URLError, OSError) as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("SeaweedFS did not start") from error
            time.sleep(0.05)  # a refused connection comes back at once


def _free_ports(count: int) -> list[int]:
    # All are held until all are known, so that none comes twice.
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
