"""Adapting a trained network to new tasks with a few images: first the new heads alone, then everything."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from training.config import BalanceConfig, Config, DataConfig, DevConfig, SamplingConfig
from training.loop.optim import total_steps
from training.run_folder.trainable import Start

logger = logging.getLogger(__name__)

_SCORINGS = 8


def finetune_config(base: Config, images: int, *, keep_others: bool) -> Config:
    """Return the recipe for a short run that starts from the network that `base` made.

    The grid, the normalisation and the losses stay. The heads learn alone for the first half of the run (for all of it
    with `keep_others`), then encoder and decoder join in at a tenth of their learning rates. Batch norm stays
    fixed, and images are augmented, as few images are expected.
    """
    optim = replace(
        base.optim,
        images=images,
        batch_size=min(base.optim.batch_size, 8),
        encoder_lr=base.optim.encoder_lr / 10,
        decoder_lr=(base.optim.decoder_lr or base.optim.head_lr) / 10,
        warmup_steps=10,
        clip_norm=1.0,
        ema_decay=0.97,
        freeze_shared=1.0 if keep_others else 0.5,
    )
    augment = replace(base.augment, hflip=0.5, geometry=0.5, speckle=0.2, depth_gain=0.2)
    return replace(
        base,
        name=f"{base.name}-finetuned",
        encoder=replace(base.encoder, weights="none", freeze_batchnorm=True),
        data=replace(base.data, tasks=(), dev_fraction=0.2, near_copies=DataConfig.near_copies),
        augment=augment,
        sampling=SamplingConfig(),
        balance=BalanceConfig(kinds=base.balance.kinds),
        optim=optim,
        dev=DevConfig(every=max(1, total_steps(optim, SamplingConfig()) // _SCORINGS)),
        tasks={},
    )


def say_what_changed(start: Start, trained: Iterable[str], output: Path, *, keep_others: bool) -> None:
    """Log which tasks of the old network answer otherwise now."""
    others = sorted(set(start.facts.rows).difference(trained))
    if keep_others or not others:
        logger.info("the other %d tasks answer exactly as before", len(others))
    else:
        logger.warning(
            "encoder and decoder were trained, so these tasks now answer differently: %s; score them again, add their "
            "rows to the data folder, or use --keep-others",
            ", ".join(others),
        )
    logger.info("next: python -m training export %s --output DIR", output)
