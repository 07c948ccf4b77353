"""The same seed is the same run, to the bit, also in another process."""

import os
import subprocess
import sys

from tests.simulation.faults import HARSH
from tests.simulation.small import lived
from tests.simulation.workloads import simple

_ANOTHER = """
from tests.simulation.faults import HARSH
from tests.simulation.logs import quiet_logs
from tests.simulation.small import lived
from tests.simulation.workloads import simple
with quiet_logs():
    print(lived(simple(7, 12, 4.0, 20.0), seed=7, faults=HARSH).digest)
"""


def test_the_same_seed_gives_the_same_run() -> None:
    measures, again = (lived(simple(7, 12, 4.0, 20.0), seed=7, faults=HARSH) for _ in range(2))
    assert measures.digest == again.digest
    assert measures.wasted_gib_h == again.wasted_gib_h
    assert measures.waits_s == again.waits_s


def test_another_process_with_other_hashes_gives_the_same_run() -> None:
    environment = os.environ | {"PYTHONHASHSEED": "12345"}
    told = subprocess.run(
        [sys.executable, "-c", _ANOTHER], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert told.stdout.strip() == lived(simple(7, 12, 4.0, 20.0), seed=7, faults=HARSH).digest


def test_another_seed_gives_another_run() -> None:
    assert lived(simple(8, 12, 4.0, 20.0), seed=8).digest != lived(simple(7, 12, 4.0, 20.0), seed=7).digest
