"""The comparison of policies, small."""

from pathlib import Path

import pytest

from tests.simulation.baselines import BASELINES, STOKER
from tests.simulation.report import is_bar_met, text_table, verdict, write
from tests.simulation.studies import Outcome, Size, jobs_for, outcome

TINY = Size("tiny", hosts=4, host_memory_mib=8192, functions=30, calls=300, hours=0.05, seed=1)


@pytest.fixture(scope="module")
def compared() -> list[Outcome]:
    return [outcome(job) for job in jobs_for(TINY, is_sweep=False)]


def test_all_policies_get_the_same_calls(compared: list[Outcome]) -> None:
    assert [each.policy for each in compared] == [STOKER, *BASELINES]
    assert len({each.calls for each in compared}) == 1
    assert all(each.answered == each.calls > 0 for each in compared)


def test_the_report_shows_every_policy_and_the_bar(compared: list[Outcome], tmp_path: Path) -> None:
    page = write(compared, compared, tmp_path).read_text(encoding="utf-8")
    for each in compared:
        assert each.policy in page
        assert each.policy in text_table(compared)
    assert verdict(compared).endswith("met" if is_bar_met(compared) else "MISSED")
    assert verdict(compared).replace("<", "&lt;") in page
    assert (tmp_path / "outcomes.json").stat().st_size


def test_the_curves_are_in_the_page_itself(compared: list[Outcome], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = write(compared, compared, tmp_path).read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == len(list(tmp_path.glob("*.png"))) == 3
