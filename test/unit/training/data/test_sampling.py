"""Draws: every row is reached, the order depends on the seed alone, ranks share a batch."""

import itertools
from collections import Counter

import pytest

from challenge.errors import UserError
from training.config import SamplingConfig
from training.data.sampling import TaskSampler

SIZES = {"large": 90, "middle": 30, "small": 3}


def sampler(**config):
    return TaskSampler(SIZES, 8, seed=1, config=SamplingConfig(**config))


def test_every_row_is_reached_and_passes_differ():
    rows = {task_id: [] for task_id in SIZES}
    for draws in itertools.islice(sampler(), 120):
        for draw in draws:
            rows[draw.task_id] += draw.rows
    for task_id, size in SIZES.items():
        passes = [rows[task_id][start : start + size] for start in range(0, len(rows[task_id]) - size + 1, size)]
        assert len(passes) >= 3
        assert all(sorted(one) == list(range(size)) for one in passes)
        assert any(one != passes[0] for one in passes)


def test_a_pass_may_hold_a_row_several_times():
    passes = {"middle": [0, 0, 0, *range(1, 30)]}
    drawn = TaskSampler(SIZES, 8, 1, SamplingConfig(weights={"large": 0.0, "small": 0.0}), passes=passes)
    rows = [row for (draw,) in itertools.islice(drawn, 12) for row in draw.rows]
    assert sorted(rows[:32]) == sorted(passes["middle"])
    assert Counter(rows[:96])[0] == 9
    keys = [key for (draw,) in itertools.islice(drawn, 12) for key in draw.keys]
    assert len(set(keys)) == len(keys)


def test_a_small_task_fills_no_batch_by_repeating_its_rows():
    for (draw,) in itertools.islice(sampler(), 40):
        assert len(draw.rows) == min(8, SIZES[draw.task_id])
        assert len(draw.keys) == len(draw.rows)


def test_no_two_draws_share_random_numbers():
    keys = [key for (draw,) in itertools.islice(sampler(), 200) for key in draw.keys]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("config", "shares"),
    [
        ({"method": "uniform"}, {"large": 1 / 3, "middle": 1 / 3, "small": 1 / 3}),
        ({"method": "proportional"}, {"large": 90 / 123, "middle": 30 / 123, "small": 3 / 123}),
        ({"method": "temperature", "temperature": 2.0}, {"large": 0.567, "middle": 0.327, "small": 0.104}),
    ],
)
def test_tasks_are_drawn_as_the_method_says(config, shares):
    one = sampler(**config)
    assert one.probabilities == pytest.approx(shares, abs=0.002)
    counts = Counter(draw.task_id for (draw,) in itertools.islice(one, 3000))
    assert {task_id: counts[task_id] / 3000 for task_id in SIZES} == pytest.approx(shares, abs=0.03)


def test_several_tasks_per_step_are_different_ones():
    for draws in itertools.islice(sampler(tasks_per_step=2), 30):
        assert len({draw.task_id for draw in draws}) == 2
    with pytest.raises(UserError, match="there are 3 tasks"):
        sampler(tasks_per_step=4)


def test_a_task_of_weight_zero_is_never_drawn_and_not_counted():
    draws = itertools.islice(sampler(tasks_per_step=2, weights={"large": 0.0}), 20)
    assert "large" not in {draw.task_id for step in draws for draw in step}
    with pytest.raises(UserError, match="tasks_per_step is 3, but there are 2 tasks"):
        sampler(tasks_per_step=3, weights={"large": 0.0})
    with pytest.raises(UserError, match=r"sampling\.weights leave no task"):
        sampler(weights=dict.fromkeys(SIZES, 0.0))


def test_a_saved_state_goes_on_where_it_was():
    whole = list(itertools.islice(sampler(tasks_per_step=2), 30))
    first = sampler(tasks_per_step=2)
    list(itertools.islice(first, 11))
    second = sampler(tasks_per_step=2)
    second.load_state_dict(first.state_dict())
    assert list(itertools.islice(second, 19)) == whole[11:]


def test_a_state_of_other_tasks_is_refused():
    other = TaskSampler({"else": 3}, 2, seed=1)
    with pytest.raises(UserError, match="other tasks"):
        other.load_state_dict(sampler().state_dict())


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_ranks_share_a_batch_without_loss_or_overlap(ranks):
    for (draw,) in itertools.islice(sampler(), 20):
        parts = [draw.share(rank, ranks) for rank in range(ranks)]
        assert all(part.rows for part in parts)
        # Row i of the batch is row i // ranks of rank i % ranks; what stands beyond is padding.
        again = [parts[i % ranks].rows[i // ranks] for i in range(len(draw.rows))]
        assert tuple(again) == draw.rows


def test_kinds_take_turns():
    kinds = {"large": "segmentation", "middle": "classification", "small": "segmentation"}
    turns = TaskSampler(SIZES, 8, 1, SamplingConfig(alternate=True), kinds)
    drawn = [kinds[draw.task_id] for (draw,) in itertools.islice(turns, 40)]
    assert drawn == ["segmentation", "classification"] * 20
    with pytest.raises(UserError, match="there is 1 task to draw from"):
        TaskSampler(SIZES, 8, 1, SamplingConfig(alternate=True, tasks_per_step=2), kinds)


def test_weights_multiply_what_the_method_says():
    weighted = sampler(method="uniform", weights={"small": 2.0})
    assert weighted.probabilities == pytest.approx({"large": 0.25, "middle": 0.25, "small": 0.5})
    rooted = sampler(method="temperature", temperature=2.0, weights={"large": 0.5})
    whole = 0.5 * 90**0.5 + 30**0.5 + 3**0.5
    assert rooted.probabilities == pytest.approx(
        {"large": 0.5 * 90**0.5 / whole, "middle": 30**0.5 / whole, "small": 3**0.5 / whole}
    )


def test_weights_count_within_the_kind_whose_turn_it_is():
    kinds = {"large": "segmentation", "middle": "classification", "small": "segmentation"}
    config = SamplingConfig(method="uniform", alternate=True, weights={"small": 3.0})
    turns = TaskSampler(SIZES, 8, 1, config, kinds)
    drawn = Counter(draw.task_id for (draw,) in itertools.islice(turns, 2000))
    assert drawn["middle"] == 1000
    assert drawn["small"] / 1000 == pytest.approx(0.75, abs=0.05)


def test_seeds_differ_in_tasks_and_rows():
    first, other = (list(itertools.islice(TaskSampler(SIZES, 8, seed), 20)) for seed in (1, 2))
    assert [draw.task_id for (draw,) in first] != [draw.task_id for (draw,) in other]
    rows = [next(draw.rows for (draw,) in drawn if draw.task_id == "large") for drawn in (first, other)]
    assert rows[0] != rows[1]
    assert rows[0] != tuple(range(8))


def test_a_mixed_batch_has_every_task_by_its_probability_and_rows_of_its_passes():
    mixed = sampler(mixed=True, method="proportional")
    steps = list(itertools.islice(mixed, 400))
    assert {sum(len(draw.rows) for draw in draws) for draws in steps} == {8}
    assert max(len(draws) for draws in steps) == 3
    assert all(len({draw.task_id for draw in draws}) == len(draws) for draws in steps)
    counts = Counter({task_id: 0 for task_id in SIZES})
    rows = {task_id: [] for task_id in SIZES}
    for draw in itertools.chain.from_iterable(steps):
        counts[draw.task_id] += len(draw.rows)
        rows[draw.task_id] += draw.rows
    assert {task_id: count / 3200 for task_id, count in counts.items()} == pytest.approx(mixed.probabilities, abs=0.03)
    assert sorted(rows["middle"][:30]) == list(range(30))
    keys = [key for draws in steps for draw in draws for key in draw.keys]
    assert len(set(keys)) == len(keys)


def test_a_mixed_batch_has_one_kind_where_kinds_take_turns():
    kinds = {"large": "segmentation", "middle": "classification", "small": "segmentation"}
    mixed = TaskSampler(SIZES, 8, 1, SamplingConfig(mixed=True, alternate=True, method="temperature"), kinds)
    steps = [{draw.task_id for draw in draws} for draws in itertools.islice(mixed, 40)]
    assert all(tasks == {"middle"} for tasks in steps[1::2])
    assert all(tasks <= {"large", "small"} for tasks in steps[::2])
    assert {"large", "small"} in steps


def test_a_restart_begins_again_with_the_same_rows_and_reshuffles_only_what_was_used_up():
    only = {"weights": {"middle": 0.0, "small": 0.0}}
    drawn = sampler(restart_every=5, **only)  # 5 batches of 8 of the 90 rows
    epochs = [[row for (draw,) in itertools.islice(drawn, 5) for row in draw.rows] for _ in range(3)]
    assert epochs[0] == epochs[1] == epochs[2]
    small = TaskSampler({"small": 16}, 8, 1, SamplingConfig(restart_every=3))  # one and a half passes
    first, second = ([row for (draw,) in itertools.islice(small, 3) for row in draw.rows] for _ in range(2))
    assert second[:8] == first[16:]  # the pass in which the first epoch ended
    assert sorted(second[:16]) == list(range(16))
    even = TaskSampler({"small": 16}, 8, 1, SamplingConfig(restart_every=2))  # just one pass
    orders = [[row for (draw,) in itertools.islice(even, 2) for row in draw.rows] for _ in range(2)]
    assert orders[0] == orders[1]


def test_after_a_restart_rows_get_other_random_numbers():
    keys = [key for (draw,) in itertools.islice(sampler(restart_every=2), 100) for key in draw.keys]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("config", [{"restart_every": 4}, {"mixed": True}])
def test_a_saved_state_with_restarts_or_mixed_batches_goes_on_where_it_was(config):
    whole = list(itertools.islice(sampler(**config), 30))
    first, second = sampler(**config), sampler(**config)
    list(itertools.islice(first, 11))
    second.load_state_dict(first.state_dict())
    assert list(itertools.islice(second, 19)) == whole[11:]


def test_a_state_from_before_there_were_restarts_is_read():
    first, second = sampler(), sampler()
    list(itertools.islice(first, 11))
    state = first.state_dict()
    del state["places"]
    second.load_state_dict(state)
    assert next(second) == next(first)
