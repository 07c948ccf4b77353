"""The steps of a rollout, by a clock that a test moves."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from stoker_codestore import rollout_plan
from stoker_codestore.rollout_plan import Plan, Progress, State

PLAN = Plan((1, 10, 50, 100), 60.0)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    steps = draw(st.sets(st.integers(1, 99), max_size=6))
    return Plan((*sorted(steps), 100), draw(st.floats(1, 1000)), draw(st.integers(0, 10)))


def go_on(plan: Plan, progress: Progress, now_s: float, judged: int = 0) -> Progress:
    is_due = rollout_plan.is_due(plan, progress, now_s, judged)
    return rollout_plan.stepped(plan, progress, now_s) if is_due else progress


def test_a_rollout_goes_from_step_to_step_until_it_is_done() -> None:
    progress = rollout_plan.begin(PLAN, 0.0)
    seen = [rollout_plan.weight(PLAN, progress)]
    for now_s in range(0, 1000, 10):
        progress = go_on(PLAN, progress, float(now_s))
        seen.append(rollout_plan.weight(PLAN, progress))
    assert sorted(set(seen)) == [1, 10, 50, 100]
    assert progress == Progress(State.DONE, 3, 180.0)


def test_a_step_that_nobody_looked_after_is_followed_by_one_step_alone() -> None:
    progress = go_on(PLAN, rollout_plan.begin(PLAN, 0.0), 10_000.0)
    assert (progress.step, go_on(PLAN, progress, 10_059.0).step, go_on(PLAN, progress, 10_060.0).step) == (1, 1, 2)


def test_too_few_calls_keep_a_rollout_at_its_step() -> None:
    plan = Plan((50, 100), 60.0, min_calls=20)
    progress = rollout_plan.begin(plan, 0.0)
    assert go_on(plan, progress, 1000.0, judged=19) == progress
    assert go_on(plan, progress, 1000.0, judged=20).state is State.DONE


def test_a_pause_adds_to_no_step() -> None:
    progress = rollout_plan.paused(rollout_plan.begin(PLAN, 0.0), 50.0)
    assert go_on(PLAN, progress, 5000.0) == progress
    progress = rollout_plan.resumed(progress, 1000.0)
    assert (go_on(PLAN, progress, 1009.0).step, go_on(PLAN, progress, 1010.0).step) == (0, 1)


@given(plans())
def test_a_plan_of_one_step_is_done_when_it_begins(plan: Plan) -> None:
    progress = rollout_plan.begin(plan, 5.0)
    assert (progress.state is State.DONE) == (len(plan.steps) == 1)


class Rollout(RuleBasedStateMachine):
    """Whatever is done to a rollout, in any order and at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.plan = Plan((5, 20, 60, 100), 10.0, min_calls=2)
        self.now_s = 0.0
        self.progress = rollout_plan.begin(self.plan, self.now_s)
        self.weights = [5]
        self.ran_s = 0.0
        self.judged = 0

    @rule(elapsed_s=st.floats(0, 30))
    def time_passes(self, elapsed_s: float) -> None:
        self.now_s += elapsed_s
        if self.progress.state is State.RUNNING:
            self.ran_s += elapsed_s

    @rule(calls=st.integers(0, 3))
    def calls_are_judged(self, calls: int) -> None:
        self.judged += calls

    @rule()
    def somebody_looks(self) -> None:
        before, self.progress = self.progress, go_on(self.plan, self.progress, self.now_s, self.judged)
        if self.progress != before:
            assert self.ran_s >= self.plan.every_s - 1e-6
            assert self.judged >= self.plan.min_calls
            self.ran_s, self.judged = 0.0, 0
        elif before.state is State.RUNNING:
            assert self.ran_s <= self.plan.every_s + 1e-6 or self.judged < self.plan.min_calls

    @rule()
    def somebody_pauses(self) -> None:
        self.progress = rollout_plan.paused(self.progress, self.now_s)

    @rule()
    def somebody_resumes(self) -> None:
        self.progress = rollout_plan.resumed(self.progress, self.now_s)

    @precondition(lambda self: len(self.weights) > 8)
    @rule()
    def somebody_aborts(self) -> None:
        self.progress = rollout_plan.aborted(self.progress, self.now_s)

    @precondition(lambda self: self.progress.state.is_under_way and len(self.weights) > 8)
    @rule()
    def the_new_version_is_found_to_be_worse(self) -> None:
        self.progress = rollout_plan.rolled_back(self.progress, self.now_s)

    @invariant()
    def weights_grow_by_one_step_or_fall_to_nothing(self) -> None:
        weight = rollout_plan.weight(self.plan, self.progress)
        before = self.weights[-1]
        steps = (0, *self.plan.steps)
        self.weights.append(weight)
        if weight not in (0, before):
            assert steps.index(weight) == steps.index(before) + 1
        if weight == 0:
            assert self.progress.state in (State.ROLLED_BACK, State.ABORTED)
        assert (weight == 100) == (self.progress.state is State.DONE)


TestRollout = Rollout.TestCase
