"""How `finetune` and `sync` change a recipe, number by number."""

from dataclasses import fields, replace

import pytest
from unit.training.recipes import tiny_config

from training.loop.finetune import finetune_config
from training.loop.synchronise import sync_config

BASE = tiny_config(
    name="base",
    encoder={"weights": "timm", "frozen": ["backbone.conv_stem"]},
    data={"tasks": ["lung"], "mean": [0.1, 0.2, 0.3]},
    augment={"vflip": 0.3, "hflip": 0.0},
    sampling={"tasks_per_step": 3, "joint": True, "weights": {"lung": 2.0}},
    balance={"method": "uncertainty", "kinds": {"detection": 2.0}, "tasks": {"lung": 5.0}},
    optim={"images": 9999, "batch_size": 16, "encoder_lr": 1e-3, "decoder_lr": 4e-3, "head_lr": 2e-2,
           "weight_decay": 0.05, "small_size": 32, "small_until": 0.7, "freeze_shared": 0.2},
    dev={"every": 77, "patience": 5},
    loss={"regression": "l1"},
    tasks={"lung": {"hflip": False}},
)  # fmt: skip


def changes(before, after):
    """The fields that differ, by section."""
    found = {}
    for field in fields(before):
        one, other = getattr(before, field.name), getattr(after, field.name)
        if one != other and hasattr(one, "__dataclass_fields__"):
            found.update({f"{field.name}.{key}": value for key, value in changes(one, other).items()})
        elif one != other:
            found[field.name] = other
    return found


SHARED = {
    "encoder.weights": "none",
    "data.tasks": (),
    "data.dev_fraction": 0.2,
    "sampling.tasks_per_step": 1,
    "sampling.joint": False,
    "sampling.weights": {},
    "balance.method": "fixed",
    "balance.tasks": {},
    "optim.images": 800,
    "optim.batch_size": 8,
    "optim.warmup_steps": 10,
    "optim.ema_decay": 0.97,
    "dev.patience": 0,
    "tasks": {},
}


@pytest.mark.parametrize(("keep", "frozen"), [(True, 1.0), (False, 0.5)])
def test_fine_tuning_changes_only_these_parameters(keep, frozen):
    assert changes(BASE, finetune_config(BASE, 800, keep_others=keep)) == SHARED | {
        "name": "base-finetuned",
        "encoder.freeze_batchnorm": True,
        "augment.hflip": 0.5,
        "augment.geometry": 0.5,
        "augment.speckle": 0.2,
        "augment.depth_gain": 0.2,
        "optim.encoder_lr": pytest.approx(1e-4),
        "optim.decoder_lr": pytest.approx(4e-4),
        "optim.clip_norm": 1.0,
        "optim.freeze_shared": frozen,
        "dev.every": 12,  # 100 steps, scored eight times
    }


def test_a_decoder_with_the_heads_rate_continues_at_a_tenth_of_it():
    base = replace(BASE, optim=replace(BASE.optim, decoder_lr=0.0, batch_size=2))
    tuned = finetune_config(base, 5, keep_others=False)
    assert tuned.optim.decoder_lr == pytest.approx(2e-3)
    assert tuned.optim.batch_size == 2
    assert tuned.dev.every == 1


def test_synchronising_changes_only_these_parameters():
    assert changes(BASE, sync_config(BASE, 800)) == SHARED | {
        "name": "base-synchronised",
        "encoder.frozen": (),
        "optim.decoder_lr": 0.0,
        "optim.weight_decay": 0.0,
        "optim.freeze_shared": 0.0,
        "optim.small_until": 0.0,
        "optim.trained": "prompts",
        "dev.every": 25,  # 100 steps, scored four times
    }
