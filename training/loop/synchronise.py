"""Downstream synchronisation (PerceptGuide, Medical Image Analysis 104, 103639): prompts alone learn a new data set."""

from dataclasses import replace
from pathlib import Path

from challenge.errors import UserError
from challenge.manifest import read_manifest
from training.config import BalanceConfig, Config, DataConfig, DevConfig, SamplingConfig
from training.loop.optim import total_steps
from training.run_folder.trainable import Start

_SCORINGS = 4


def sync_config(base: Config, images: int) -> Config:
    """Return the recipe of a short run that changes only what generates the prompt embeddings of `base`'s network.

    Grid, normalisation, losses, augmentation and the heads' learning rate stay. The whole network is in eval mode, so
    that running statistics stay, too.
    """
    optim = replace(
        base.optim,
        images=images,
        batch_size=min(base.optim.batch_size, 8),
        decoder_lr=0.0,
        weight_decay=0.0,
        warmup_steps=10,
        ema_decay=0.97,
        freeze_shared=0.0,
        small_until=0.0,
        trained="prompts",
    )
    return replace(
        base,
        name=f"{base.name}-synchronised",
        encoder=replace(base.encoder, weights="none", frozen=()),
        data=replace(base.data, tasks=(), dev_fraction=0.2, near_copies=DataConfig.near_copies),
        sampling=SamplingConfig(),
        balance=BalanceConfig(kinds=base.balance.kinds),
        optim=optim,
        dev=DevConfig(every=max(1, total_steps(optim, SamplingConfig()) // _SCORINGS)),
        tasks={},
    )


def check_tasks(start: Start, data_root: Path) -> None:
    """Raise UserError if the data has tasks that the network lacks: prompts cannot make a head."""
    known = {spec.task_id for spec in start.tasks}
    new = sorted({sample.task_id for sample in read_manifest(data_root).samples} - known)
    if new:
        raise UserError(
            f"the network has no head for {', '.join(new)}; `python -m training finetune` makes one, `sync` adapts the "
            "prompts of tasks that it has"
        )
