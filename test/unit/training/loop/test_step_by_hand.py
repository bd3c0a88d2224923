"""One step of the training loop against the same by hand: gradients, weights, averages, rates, scores, checkpoints."""

import itertools
import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from unit.training.recipes import TINY, tiny_config, tiny_trainer

from training.augmentation.augment import normalise
from training.data.rows import DataSource
from training.data.sampling import Draw
from training.distributed import Ranks
from training.loop.runs import train_run
from training.loop.trainer import Trainer
from training.run_folder import checkpoint_file
from training.run_folder.trainable import load_network
from training.selection.dev_scores import DevScorer, DevScores

SYSTEM = {"options": {**TINY["system"]["options"], "dropout": 0.0}}
STILL = {"name": "momentum", "momentum": 0.0, "encoder_lr": 0.0, "head_lr": 0.0, "final_lr": 0.0, "weight_decay": 0.0,
         "warmup_steps": 0, "ema_decay": 0.0}  # fmt: skip
"""Plain gradient descent that goes nowhere: the gradients stay to be looked at."""


@pytest.fixture(scope="module")
def source(four_kinds, tmp_path_factory):
    return DataSource(four_kinds, tmp_path_factory.mktemp("cache"))


@pytest.fixture
def make(source, tmp_path):
    """Return a trainer; sections are laid over a recipe without dropout."""

    def trainer(**sections):
        return tiny_trainer(tiny_config(**{"system": SYSTEM, **sections}), source, tmp_path)

    return trainer


def draw_of(task_id, *rows):
    return Draw(task_id, rows, tuple((0, row) for row in rows))


def step(trainer, *draws, number=1):
    trainer.position.sampler = {"step": number}
    return trainer.train_step(draws, [trainer.parts.data[draw] for draw in draws])


def gradients(trainer):
    return {name: p.grad.clone() for name, p in trainer.parts.network.named_parameters() if p.grad is not None}


def by_hand(trainer, weighted):
    """Gradients of the sum of `weight * loss` over (draw, task, weight), without the loop."""
    trainer.parts.network.zero_grad(set_to_none=True)
    trainer.parts.network.train()
    trainer.parts.network.encoder.train(not trainer.config.encoder.freeze_batchnorm)
    total = torch.zeros(())
    for draw, task_id, weight in weighted:
        batch = trainer.parts.data[draw]
        images = normalise(batch.images, trainer.config.data.mean, trainer.config.data.std)
        target = batch.targets[task_id]
        target = target.long() if target.dtype is torch.uint8 else target
        total = total + weight * trainer.parts.losses[task_id](trainer.parts.network(images, task_id), target)
    total.backward()
    return gradients(trainer)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert any(value.abs().max() > 1e-4 for value in expected.values())
    for name, value in expected.items():
        noise = 1e-4 * float(value.abs().max()) + 1e-6
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=noise, msg=name)


def test_the_gradient_of_deep_supervision_is_that_of_the_weighted_scales(make):
    system = {"name": "uniseg", "options": {"features": [4, 4, 4, 4, 4, 6], "grid": 2, "deep_supervision": True}}
    trainer = make(system=system, optim=STILL, loss={"segmentation": "ce_and_dice"})
    task_id = next(spec.task_id for spec in trainer.parts.data.tasks if spec.kind == "segmentation")
    draw = draw_of(task_id, 0, 1)
    step(trainer, draw)
    found = gradients(trainer)
    network, batch = trainer.parts.network, trainer.parts.data[draw]
    network.zero_grad(set_to_none=True)
    images = normalise(batch.images, trainer.config.data.mean, trainer.config.data.std)
    target = batch.targets[task_id].long()
    outputs = network.supervised(images, [task_id])[task_id]
    total = torch.zeros(())
    for output, weight in zip(outputs, (8, 4, 2, 1), strict=False):
        factor = target.shape[-1] // output.shape[-1]
        coarser = target[:, factor // 2 :: factor, factor // 2 :: factor]
        total = total + weight / 15 * trainer.parts.losses[task_id](output, coarser)
    total.backward()
    expected = gradients(trainer)
    assert not [name for name in found if name.startswith("classify.4")]
    assert_same(found, expected)


def test_the_gradient_of_several_draws_is_their_mean_by_the_weights_of_the_recipe(make):
    trainer = make(optim=STILL, sampling={"tasks_per_step": 2}, balance={"kinds": {"segmentation": 3.0}})
    first, second = draw_of("breast_lesion", 0, 1, 2), draw_of("breast_2cls", 0, 1)
    step(trainer, first, second)
    found = gradients(trainer)
    assert_same(found, by_hand(trainer, [(first, "breast_lesion", 1.5), (second, "breast_2cls", 0.5)]))
    assert trainer.position.images_seen == 5
    step(trainer, first)
    assert_same(gradients(trainer), by_hand(trainer, [(first, "breast_lesion", 3.0)]))
    assert trainer.position.images_seen == 8


def test_the_tasks_of_one_draw_add_up(make):
    trainer = make(optim=STILL, sampling={"joint": True})
    draw = draw_of("breast_lesion", 0, 1, 2)
    known = trainer.parts.data.known(draw)
    assert all(positions == [0, 1, 2] for positions in known.values())
    assert len(known) > 1
    step(trainer, draw)
    assert_same(gradients(trainer), by_hand(trainer, [(draw, task_id, 1.0) for task_id in known]))


def test_the_losses_of_a_mixed_batch_are_means_over_a_kind_and_the_kinds_add_up(make):
    # Batch norm sees the whole batch, so that tasks by themselves would give other gradients: here it is fixed.
    trainer = make(optim=STILL, sampling={"mixed": True}, encoder={"freeze_batchnorm": True})
    masks, classes = draw_of("breast_lesion", 0, 1, 2), draw_of("breast_2cls", 0, 1)
    points = draw_of("fetal_head_biometry", 0)
    step(trainer, masks, classes, points)
    found = gradients(trainer)
    weighted = [(masks, "breast_lesion", 1.0), (classes, "breast_2cls", 1.0), (points, "fetal_head_biometry", 1.0)]
    assert_same(found, by_hand(trainer, weighted))
    assert trainer.position.images_seen == 6


def test_tasks_of_one_kind_share_its_loss_by_their_images(make):
    trainer = make(optim=STILL, sampling={"mixed": True})
    tasks = trainer.parts.network.tasks
    trainer.parts.network.tasks = {**tasks, "other": tasks["breast_lesion"]}
    shares = trainer._step._shares([draw_of("breast_lesion", 0, 1, 2), draw_of("other", 0), draw_of("breast_2cls", 0)])
    assert shares == {"breast_lesion": 0.75, "other": 0.25, "breast_2cls": 1.0}


def test_the_networks_auxiliary_loss_counts_once(make):
    trainer = make(optim=STILL)
    draw = draw_of("breast_2cls", 0, 1)
    step(trainer, draw)
    before = gradients(trainer)
    bias = trainer.parts.network.stages["head.breast_2cls"].module.classify.bias
    trainer.parts.network.auxiliary_loss = lambda: 5 * bias.sum()
    step(trainer, draw)
    name = next(name for name, parameter in trainer.parts.network.named_parameters() if parameter is bias)
    torch.testing.assert_close(gradients(trainer)[name], before[name] + 5)


def test_a_gradient_is_clipped_to_its_norm_over_all_parameters(make):
    trainer = make(optim={**STILL, "clip_norm": 0.01})
    step(trainer, draw_of("breast_lesion", 0, 1))
    norm = math.sqrt(sum(float((value**2).sum()) for value in gradients(trainer).values()))
    assert norm == pytest.approx(0.01, rel=1e-3)


def test_weights_move_by_their_own_rate_times_the_gradient(make):
    rates = {"encoder_lr": 0.1, "decoder_lr": 0.2, "head_lr": 0.4, "final_lr": 0.0, "warmup_steps": 4}
    trainer = make(optim={**STILL, **rates})
    trainer.position.progress = 0.25
    before = {name: value.detach().clone() for name, value in trainer.parts.network.named_parameters()}
    step(trainer, draw_of("breast_lesion", 0, 1), number=2)
    height = 0.5 * (1 + math.cos(math.pi * 0.25)) * 2 / 4  # a quarter down the cosine, in the second of four warm steps
    rate = {"backbone": 0.1, "pyramid": 0.2, "heads": 0.4}
    found = gradients(trainer)
    assert {name.split(".")[0] for name in found} == set(rate)
    for name, value in trainer.parts.network.named_parameters():
        moved = -height * rate[name.split(".")[0]] * found[name] if name in found else torch.zeros_like(value)
        torch.testing.assert_close(value - before[name], moved, rtol=1e-3, atol=1e-6, msg=name)


def test_the_average_of_weights_by_hand(make):
    trainer = make(optim={**STILL, "encoder_lr": 0.1, "head_lr": 0.1, "ema_decay": 0.22})
    mean = {name: value.clone() for name, value in trainer.parts.network.state_dict().items()}
    # (1 + step) / (10 + step) as long as that is less than what the recipe says.
    for number, decay in enumerate((1 / 10, 2 / 11, 0.22, 0.22), start=1):
        step(trainer, draw_of("breast_lesion", 0, 1), number=number)
        for name, value in trainer.parts.network.state_dict().items():
            exact = value.is_floating_point()
            mean[name] = decay * mean[name] + (1 - decay) * value if exact else value.clone()
    own = trainer.parts.network.state_dict()
    assert any(not torch.allclose(value, own[name], atol=1e-4) for name, value in mean.items())
    for name, value in trainer.parts.ema.module.state_dict().items():
        torch.testing.assert_close(value, mean[name], rtol=1e-4, atol=1e-6, msg=name)


def test_dropout_differs_between_steps_and_repeats_with_a_step(make):
    trainer = make(optim=STILL, system={"options": {**TINY["system"]["options"], "dropout": 0.5}})
    draw = draw_of("breast_2cls", 0, 1)
    first, again, other = (float(step(trainer, draw, number=n)["breast_2cls"]) for n in (1, 1, 2))
    assert first == again != other


def test_shared_parts_start_to_learn_at_their_time(make):
    trainer = make(optim={**STILL, "freeze_shared": 0.5})
    draw = draw_of("breast_lesion", 0, 1)
    statistics = {
        n: b.clone() for n, b in trainer.parts.network.named_buffers() if n.startswith(("backbone", "pyramid"))
    }
    trainer.position.progress = 0.49
    step(trainer, draw)
    assert {name.split(".")[0] for name in gradients(trainer)} == {"heads"}
    buffers = dict(trainer.parts.network.named_buffers())
    assert all(torch.equal(buffers[name], value) for name, value in statistics.items())
    trainer.position.progress = 0.5
    step(trainer, draw)
    assert {name.split(".")[0] for name in gradients(trainer)} == {"backbone", "pyramid", "heads"}
    assert any(not torch.equal(buffers[name], value) for name, value in statistics.items())


@pytest.mark.parametrize("fixed", [True, False])
def test_only_the_encoders_statistics_are_fixed_and_only_if_the_recipe_says_so(make, fixed):
    trainer = make(optim=STILL, encoder={"freeze_batchnorm": fixed})
    before = {name: value.clone() for name, value in trainer.parts.network.named_buffers()}
    step(trainer, draw_of("breast_lesion_det", 0, 1))
    drifted = {n.split(".")[0] for n, b in trainer.parts.network.named_buffers() if not torch.equal(b, before[n])}
    assert "heads" in drifted
    assert ("backbone" in drifted) is not fixed


def test_the_log_holds_the_mean_loss_since_the_last_line_and_the_rates(source, tmp_path, monkeypatch):
    whole, seen = Trainer.train_step, []

    def watched(self, draws, batches):
        losses = whole(self, draws, batches)
        seen.append((losses, [group["lr"] for group in self.parts.optimizer.param_groups]))
        return losses

    monkeypatch.setattr(Trainer, "train_step", watched)
    config = tiny_config(checkpoint_every=3, optim={"images": 24, "encoder_lr": 1e-3, "head_lr": 2e-3, "final_lr": 1e-4,
                                                    "warmup_steps": 2})  # fmt: skip
    train_run(config, source, tmp_path / "run", Ranks())
    assert len(seen) == 6
    for number, (_, rates) in enumerate(seen):
        warm, height = min(1, (number + 1) / 2), 0.5 * (1 + math.cos(math.pi * number / 6))
        expected = [warm * (1e-4 + (peak - 1e-4) * height) for peak in (1e-3, 2e-3)]
        assert [rates[0], rates[-1]] == pytest.approx(expected)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "loss" in line]
    assert [(line["step"], line["images"]) for line in lines] == [(3, 12), (6, 24)]
    for line, part in zip(lines, (seen[:3], seen[3:]), strict=True):
        for task_id, value in line["loss"].items():
            losses = [float(losses[task_id]) for losses, _ in part if task_id in losses]
            assert value == pytest.approx(sum(losses) / len(losses), abs=1e-5)
        assert line["lr"] == pytest.approx({"encoder": part[-1][1][0], "heads": part[-1][1][-1]})


def test_the_best_network_is_kept_and_patience_counts_scorings_without_a_better_one(source, tmp_path, monkeypatch):
    values = itertools.chain([0.2, 0.5, 0.5, 0.1, 0.6], itertools.repeat(0.0))
    scored = []

    def score(self, network):
        scored.append({name: value.clone() for name, value in network.state_dict().items()})
        return DevScores({}, next(values))

    monkeypatch.setattr(DevScorer, "score", score)
    config = tiny_config(optim={"images": 400, "ema_decay": 0.9}, dev={"every": 2, "patience": 2})
    trainer = train_run(config, source, tmp_path / "run", Ranks())
    assert (trainer.step, trainer.position.best, trainer.position.stale) == (8, 0.5, 2)
    best = checkpoint_file.load(tmp_path / "run" / checkpoint_file.BEST)
    assert best.counters.steps == 4
    # What is scored, kept and handed out is the average of the weights.
    handed = load_network(tmp_path / "run")[0].state_dict()
    for name, value in scored[1].items():
        assert torch.equal(best.ema[name], value)
        assert torch.equal(handed[name], value)
    assert any(not torch.equal(best.network[name], value) for name, value in scored[1].items())


def test_images_reach_the_network_normalised_and_small_ones_antialiased(make):
    data = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 0.2]}
    trainer = make(optim={**STILL, "small_size": 32, "small_until": 0.5}, data=data)
    seen = []
    trainer.parts.network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    draw = draw_of("breast_2cls", 0, 1)
    step(trainer, draw)
    mean, std = torch.tensor(data["mean"]).view(3, 1, 1), torch.tensor(data["std"]).view(3, 1, 1)
    whole = (trainer.parts.data[draw].images[0].float() / 255 - mean) / std
    small = F.interpolate(whole[None], size=(32, 32), mode="bilinear", antialias=True)[0]
    torch.testing.assert_close(seen[0][0], small, atol=1e-4, rtol=1e-4)
    trainer.position.progress = 0.5
    step(trainer, draw)
    torch.testing.assert_close(seen[1][0], whole)


def test_a_saved_checkpoint_has_counters_network_and_average(source, make, tmp_path):
    trainer = make(optim={**STILL, "ema_decay": 0.5})
    step(trainer, draw_of("breast_2cls", 0, 1))
    trainer.save()
    state = checkpoint_file.load(tmp_path / checkpoint_file.LAST)
    assert (state.counters.images_seen, state.resume.sampler) == (2, {"step": 1})
    for name, value in trainer.parts.network.state_dict().items():
        assert torch.equal(state.network[name], value)
        assert torch.equal(state.ema[name], trainer.parts.ema.module.state_dict()[name])


def test_a_resumed_run_remembers_its_best_score(make, source, tmp_path):
    trainer = make()
    step(trainer, draw_of("breast_2cls", 0, 1), number=5)
    trainer.position.best, trainer.position.stale, trainer.position.progress = 0.75, 3, 0.4
    trainer.position.sampler = {**trainer.parts.sampler.state_dict(), "step": 5}
    trainer._cpu_before = 1000.0  # of the process that it went on from itself
    trainer.save()
    again = tiny_trainer(trainer.config, source, tmp_path)
    again.restore(checkpoint_file.load(tmp_path / checkpoint_file.LAST))
    assert (again.position.best, again.position.stale, again.position.progress) == (0.75, 3, 0.4)
    assert (again.step, again.position.images_seen) == (5, 2)
    assert again.counters.cpu_seconds >= 1000


def test_every_batch_norm_of_the_network_learns_its_statistics(make):
    """Otherwise the exported network (in eval mode) would differ from the trained one."""
    trainer = make(optim=STILL)
    norms = {n: m for n, m in trainer.parts.network.encoder.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {name: norm.running_mean.clone() for name, norm in norms.items()}
    step(trainer, draw_of("breast_lesion", 0, 1))
    assert all(not torch.equal(norm.running_mean, before[name]) for name, norm in norms.items())
