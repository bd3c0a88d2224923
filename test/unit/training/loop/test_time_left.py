"""The time left is right within a fifth from the first steps on, whatever the phases of a run cost."""

import pytest

from training.config import from_dict
from training.loop.time_left import Plan, TimeLeft

RECIPE = {
    "data": {"image_size": 256},
    "optim": {"images": 16_000, "batch_size": 8, "small_size": 192, "small_until": 0.5},
    "sampling": {"tasks_per_step": 2},
    "dev": {"every": 200, "rows": 100},
}
SMALL, WHOLE, ROW = 0.62, 1.0, 0.03  # seconds; a step has a part that does not depend on the size
STEPS, QUICK, ALL = 1000, 100, 900


def left_after(step, plan):
    """The true seconds of what comes after a step."""
    small = max(0, plan.small_steps - step)
    scorings = -(-plan.steps // plan.every) - step // plan.every if plan.every else 0
    return small * SMALL + (plan.steps - step - small) * WHOLE + (scorings * QUICK + plan.final_rows) * ROW


def run(plan, first=0):
    """Yield, after each step of a run that begins after `first` steps: the step, what is said, what is true."""
    now = [0.0]
    time_left = TimeLeft(plan, lambda: now[0])
    time_left.begin()
    for step in range(first + 1, plan.steps + 1):
        now[0] += SMALL if step <= plan.small_steps else WHOLE
        now[0] += 5.0 if step == first + 1 else 0  # the first step warms up
        time_left.stepped(step)
        if plan.every and step % plan.every == 0:
            now[0] += QUICK * ROW
            time_left.scored()
        yield step, time_left.seconds(step), left_after(step, plan)


def plan_of(**dev):
    config = from_dict({**RECIPE, "dev": {**RECIPE["dev"], **dev}})
    return Plan.of(config, STEPS, QUICK, ALL)


def test_the_plan_of_a_recipe():
    plan = plan_of()
    assert plan == Plan(1000, 16, 500, pytest.approx((256 / 192) ** 2), 200, QUICK, ALL)
    assert plan_of(every=0).final_rows == ALL  # the last network is scored at the end
    assert Plan.of(from_dict(RECIPE), STEPS, 50, 50).final_rows == 0  # all rows were scored while training
    assert plan.rows_left(0) == 5 * QUICK + ALL
    assert plan.rows_left(200) == 4 * QUICK + ALL


@pytest.mark.parametrize("first", [0, 150, 480, 700])
@pytest.mark.parametrize("every", [0, 200])
def test_it_is_right_within_a_fifth_also_after_a_resume(first, every):
    said = list(run(plan_of(every=every), first))
    # What no scoring has measured is guessed: with a single one, at the end, the guess decides the last steps.
    for step, seconds, true in said[10 : None if every else -50]:
        assert seconds == pytest.approx(true, rel=0.2), step


def test_once_everything_was_measured_it_is_exact():
    for step, seconds, true in list(run(plan_of()))[760:]:
        assert seconds == pytest.approx(true), step


def test_nothing_is_said_before_a_step_was_measured():
    assert TimeLeft(plan_of()).seconds(0) is None
