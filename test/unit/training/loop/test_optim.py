"""Nothing is left out of the optimiser; learning rates follow the schedule; the schedule fits the time."""

from itertools import pairwise

import pytest
import torch
from tiny import TASKS, tiny_network

from challenge.errors import UserError
from challenge.tasks import TaskKind
from model.networks import build
from training.config import BalanceConfig, LossConfig, OptimConfig, SamplingConfig
from training.loop.optim import make_optimizer, set_learning_rates, total_steps
from training.loop.schedule import Schedule
from training.losses import task_loss
from training.losses.balance import TaskBalance


def grouped(optimizer):
    return [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]


def test_every_parameter_is_in_one_group_with_its_rate():
    network = tiny_network()
    balance = TaskBalance(TASKS, BalanceConfig("uncertainty"))
    optimizer = make_optimizer(network, OptimConfig(encoder_lr=1, decoder_lr=2, head_lr=3), balance)
    ids = grouped(optimizer)
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in (*network.parameters(), *balance.parameters())}
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in network.encoder_parameters()} == {1}
    assert {rates[id(p)] for p in network.stages["pyramid"].module.parameters()} == {2}
    assert {rates[id(p)] for p in network.stages["head.lung"].module.parameters()} == {3}
    assert optimizer.param_groups[-1]["weight_decay"] == 0


def test_one_pass_over_all_tasks_reaches_every_parameter():
    network = tiny_network().train()
    targets = {
        TaskKind.SEGMENTATION: lambda spec: torch.randint(0, spec.num_classes, (2, 64, 64)),
        TaskKind.CLASSIFICATION: lambda spec: torch.tensor([0, 1]),
        TaskKind.DETECTION: lambda spec: torch.tensor([[0.2, 0.2, 0.6, 0.7]] * 2),
        TaskKind.REGRESSION: lambda spec: torch.rand(2, 2 * spec.num_classes),
    }
    for spec in TASKS:
        loss = task_loss(spec, LossConfig())
        loss(network(torch.randn(2, 3, 64, 64), spec.task_id), targets[spec.kind](spec)).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_parameters_named_by_a_system_are_not_decayed_and_keep_their_rate():
    network = build("ultraupconvnet", TASKS, encoder="test_convnext", channels=32)
    optimizer = make_optimizer(network, OptimConfig(encoder_lr=1, head_lr=3, weight_decay=0.1))
    (free,) = (group for group in optimizer.param_groups if group["weight_decay"] == 0)
    assert free["lr"] == 3
    assert {id(p) for p in free["params"]} == {id(p) for p in network.no_weight_decay()} != set()
    assert len(grouped(optimizer)) == len(list(network.parameters()))


@pytest.mark.parametrize("encoder", ["test_vit", "test_convnext", "test_efficientnet", "test_resnet"])
def test_rates_grow_by_equal_factors_from_the_first_block_to_the_last(encoder):
    network = build("atlas", TASKS, encoder=encoder)
    optimizer = make_optimizer(network, OptimConfig(encoder_lr=1, head_lr=3, first_block_rate=0.01))
    assert len(grouped(optimizer)) == len(list(network.parameters()))
    rates = {id(p): group["peak_lr"] for group in optimizer.param_groups for p in group["params"]}
    of_encoder = [rates[id(p)] for p in network.encoder_parameters()]
    blocks = sorted(set(of_encoder))
    assert of_encoder[0] == blocks[0] == pytest.approx(0.01)
    assert blocks[-1] == 1
    factors = [b / a for a, b in pairwise(blocks)]
    assert len(factors) >= 2
    assert factors == pytest.approx([factors[0]] * len(factors))
    assert rates[id(next(iter(network.stages["head.lung"].module.parameters())))] == 3


def test_momentum_reaches_the_optimiser():
    optimizer = make_optimizer(tiny_network(), OptimConfig(name="sgd", momentum=0.99))
    assert optimizer.defaults["momentum"] == 0.99
    assert optimizer.defaults["nesterov"]


def test_timm_optimisers_by_name():
    assert type(make_optimizer(tiny_network(), OptimConfig(name="lion"))).__name__ == "Lion"
    with pytest.raises(UserError, match="optim.name 'adamww'"):
        make_optimizer(tiny_network(), OptimConfig(name="adamww"))


def test_steps_are_counted_in_images():
    assert total_steps(OptimConfig(images=100, batch_size=8), SamplingConfig()) == 13
    assert total_steps(OptimConfig(images=100, batch_size=8), SamplingConfig(tasks_per_step=2)) == 7


def test_rates_warm_up_and_then_fall_along_a_cosine():
    config = OptimConfig(encoder_lr=1.0, head_lr=3.0, final_lr=0.1, warmup_steps=10)
    optimizer = make_optimizer(tiny_network(), config)

    def rates(step, progress):
        set_learning_rates(optimizer, step, progress, config)
        return [optimizer.param_groups[0]["lr"], optimizer.param_groups[-1]["lr"]]

    assert rates(0, 0.0) == pytest.approx([0.1, 0.3])
    assert rates(9, 0.0) == pytest.approx([1.0, 3.0])
    assert rates(4, 0.0) == pytest.approx([0.5, 1.5])
    assert rates(500, 0.5) == pytest.approx([0.55, 1.55])
    assert rates(500, 1 / 3) == pytest.approx([0.1 + 0.9 * 0.75, 0.1 + 2.9 * 0.75])
    assert rates(4, 1 / 3) == pytest.approx([0.5 * (0.1 + 0.9 * 0.75), 0.5 * (0.1 + 2.9 * 0.75)])
    for progress in (1.0, 1.2):  # the last step of a run by the clock may come late
        assert rates(999, progress) == pytest.approx([0.1, 0.1])


def test_the_poly_schedule():
    config = OptimConfig(head_lr=2.0, final_lr=0.0, warmup_steps=0, schedule="poly")
    optimizer = make_optimizer(tiny_network(), config)
    for progress, rate in ((0.0, 2.0), (0.25, 2 * 0.75**0.9), (0.5, 2 * 0.5**0.9), (1.0, 0.0)):
        set_learning_rates(optimizer, 0, progress, config)
        assert optimizer.param_groups[-1]["lr"] == pytest.approx(rate)
    ends_higher = OptimConfig(head_lr=2.0, final_lr=0.5, warmup_steps=0, schedule="poly")
    set_learning_rates(optimizer, 0, 0.5, ends_higher)
    assert optimizer.param_groups[-1]["lr"] == pytest.approx(0.5 + 1.5 * 0.5**0.9)


def test_without_decoder_lr_the_decoder_uses_the_heads_rate_and_all_parts_decay():
    network = tiny_network()
    optimizer = make_optimizer(network, OptimConfig(encoder_lr=1, head_lr=3, weight_decay=0.07))
    rates = {id(p): (group["lr"], group["peak_lr"]) for group in optimizer.param_groups for p in group["params"]}
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in network.stages["pyramid"].module.parameters()} == {(3, 3)}
    assert {rates[id(p)] for p in network.encoder_parameters()} == {(1, 1)}
    assert set(decays.values()) == {0.07}
    balance = TaskBalance(TASKS, BalanceConfig("uncertainty"))
    learned = make_optimizer(network, OptimConfig(encoder_lr=1, head_lr=3), balance).param_groups[-1]
    assert (learned["lr"], learned["peak_lr"]) == (3, 3)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_without_a_budget_progress_is_by_steps():
    schedule = Schedule(200)
    assert [schedule.progress(step) for step in (0, 50, 200)] == [0, 0.25, 1]


def test_a_budget_fits_the_schedule_to_the_time():
    clock = Clock()
    schedule = Schedule(1000, minutes=10, clock=clock)
    clock.now = 300
    assert schedule.progress(100) == pytest.approx(0.5)
    assert schedule.progress(700) == pytest.approx(0.7)  # a fast machine is done before
    clock.now = 600
    assert schedule.progress(101) >= 1


def test_a_resumed_run_fits_the_rest_to_the_time():
    clock = Clock()
    schedule = Schedule(1000, minutes=10, start=0.4, clock=clock)
    assert schedule.progress(100) == pytest.approx(0.4)
    clock.now = 300
    assert schedule.progress(150) == pytest.approx(0.7)
    assert Schedule(1000, start=0.4).progress(100) == 0.4
