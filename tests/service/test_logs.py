"""What a service's process writes to standard error."""

import json
import subprocess
import sys
from typing import Any

PROGRAM = """
import logging
import structlog
from stoker_service import logs, telemetry

logs.configure("test", "info")
telemetry.configure("test")
log = structlog.get_logger()
log.debug("left out")
log.info("outside", vm="vm-1")
with telemetry.tracer().start_as_current_span("work") as span:
    log.info("inside")
    logging.getLogger("library").warning("a %s warning", "library's")
    try:
        raise ValueError("a fault")
    except ValueError:
        logging.getLogger("library").exception("it failed")
logging.getLogger("library").info("left out")
print(span.get_span_context().trace_id)
"""


def test_every_line_is_json_also_those_of_libraries_and_names_its_trace() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=30)
    lines: list[dict[str, Any]] = [json.loads(line) for line in done.stderr.splitlines()]
    trace_id = f"{int(done.stdout):032x}"
    assert [line["event"] for line in lines] == ["outside", "inside", "a library's warning", "it failed"]
    assert [line.get("trace_id") for line in lines] == [None, trace_id, trace_id, trace_id]
    assert {line["service"] for line in lines} == {"test"}
    assert [line["level"] for line in lines] == ["info", "info", "warning", "error"]
    assert lines[0]["vm"] == "vm-1"
    assert lines[2]["logger"] == "library"
    assert "ValueError: a fault" in lines[3]["exception"]
