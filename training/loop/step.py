"""One optimiser step: losses of one or several batches, gradients, the update of the network and of its EMA."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.augmentation.augment import normalise
from training.augmentation.painting import painted
from training.config import Config
from training.data.dataset import Batch
from training.data.sampling import Draw
from training.distributed import Ranks
from training.loop.optim import set_learning_rates
from training.loop.parts import Parts
from training.losses.deep_supervision import supervised_loss


class Step:
    """Called once for every step of a run. Each rank computes its share of every batch."""

    def __init__(self, config: Config, parts: Parts, ranks: Ranks) -> None:
        self._config, self._parts, self._ranks = config, parts, ranks
        self._precision = getattr(torch, config.runtime.precision)
        self._scaler = torch.amp.GradScaler(parts.device.type, enabled=self._precision is torch.float16)

    def __call__(
        self, draws: Sequence[Draw], batches: Sequence[Batch], number: int, progress: float
    ) -> dict[str, Tensor]:
        """Do step `number` (from 0) at `progress` (0..1) of the schedule. Return the losses of the whole batches."""
        parts, config = self._parts, self._config.optim
        # Dropout depends on seed, step and rank only, so no random state has to be saved to resume exactly.
        seed = np.random.default_rng((self._config.seed, number, self._ranks.rank)).integers(2**63)
        torch.manual_seed(int(seed))
        self._set_modes(progress)
        set_learning_rates(parts.optimizer, number, progress, config)
        parts.optimizer.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = {}
        for draw, batch in zip(draws, batches, strict=True):
            of_batch = self._losses(draw, batch, progress)
            self._backward(of_batch, len(draws), self._ranks.part(len(draw.rows)))
            losses |= {task_id: loss.detach() for task_id, loss in of_batch.items()}
        self._update()
        if parts.ema:
            # A slow average over few steps would still hold the random start.
            parts.ema.decay = min(config.ema_decay, (1 + number) / (10 + number))
            parts.ema.update(parts.network)
        return losses

    def state_dict(self) -> dict[str, Any]:
        """Return the gradient scaler's state: the rest of a step's state is in the parts."""
        return dict(self._scaler.state_dict())

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state_dict`."""
        self._scaler.load_state_dict(dict(state))

    def _losses(self, draw: Draw, batch: Batch, progress: float) -> dict[str, Tensor]:
        """Return the loss of every task that the draw teaches, each over the images that have a row for it."""
        outputs = self._outputs(self._images(batch, progress), batch)
        losses = {}
        for task_id, positions in self._parts.data.known(draw).items():
            scales = [self._ranks.gather_rows(o.float(), len(draw.rows))[positions] for o in outputs[task_id]]
            target = batch.targets[task_id].to(self._parts.device, non_blocking=True)
            target = self._ranks.gather_rows(target, len(draw.rows))[positions]
            target = target.long() if target.dtype is torch.uint8 else target
            losses[task_id] = supervised_loss(self._parts.losses[task_id], scales, target)
        return losses

    def _images(self, batch: Batch, progress: float) -> Tensor:
        config = self._config
        images = batch.images.to(self._parts.device, non_blocking=True)
        if batch.paintings:
            images = painted(images, batch.paintings)
        images = normalise(images, config.data.mean, config.data.std)
        if progress < config.optim.small_until:
            size = config.optim.small_size
            images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        if config.runtime.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images

    def _outputs(self, images: Tensor, batch: Batch) -> dict[str, tuple[Tensor, ...]]:
        reduced = self._precision is not torch.float32
        with torch.autocast(self._parts.device.type, self._precision if reduced else None, enabled=reduced):
            return self._parts.network.supervised(images, batch.targets)

    def _backward(self, losses: Mapping[str, Tensor], draws: int, part: float) -> None:
        """Add the gradients of a batch's balanced losses, one of `draws` in the step; `part` of it is this rank's."""
        weighted = torch.stack([self._parts.balance(loss, task_id) for task_id, loss in losses.items()]).sum()
        extra = self._parts.network.auxiliary_loss()
        if extra is not None:
            weighted = weighted + part * extra
        self._scaler.scale(weighted / draws).backward()  # type: ignore[no-untyped-call]

    def _update(self) -> None:
        """Sum the gradients of all ranks, clip them, and move the weights."""
        optimizer, network, limit = self._parts.optimizer, self._parts.network, self._config.optim.clip_norm
        # Summed first: one rank's overflow must make all ranks skip the step, or their weights would part.
        self._ranks.sum_gradients(network.parameters())
        self._scaler.unscale_(optimizer)
        if limit:
            nn.utils.clip_grad_norm_(network.parameters(), limit)
        self._scaler.step(optimizer)
        self._scaler.update()

    def _set_modes(self, progress: float) -> None:
        """Put the parts that learn into training mode, and those that are fixed for now into eval mode."""
        parts, config = self._parts, self._config
        parts.network.train(config.optim.trained == "all")
        if config.encoder.freeze_batchnorm:
            for module in parts.network.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        heads_only = progress < config.optim.freeze_shared
        for module in parts.shared:
            module.requires_grad_(not heads_only)
            if heads_only:
                module.eval()
        for parameter in parts.frozen:
            parameter.requires_grad_(False)
