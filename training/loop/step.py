"""One optimiser step: losses of one or several batches, gradients, the update of the network and of its EMA."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from challenge.tasks import TaskKind
from training.augmentation.augment import normalise
from training.augmentation.painting import painted
from training.config import Config
from training.data.dataset import Batch
from training.data.sampling import Draw
from training.distributed import Ranks
from training.loop.optim import set_learning_rates
from training.loop.parts import Parts
from training.losses.deep_supervision import supervised_loss


@dataclass(frozen=True)
class Pass:
    """One pass through the network: the losses by task, their weights, and the share of the pass in the step.

    `part` of the images is this rank's.
    """

    losses: dict[str, Tensor]
    weights: Mapping[str, float]
    share: float
    part: float


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
        mixed = self._config.sampling.mixed
        passes = self._mixed_pass(draws, batches, progress) if mixed else self._single_passes(draws, batches, progress)
        for one in passes:
            self._backward(one)
            losses |= {task_id: loss.detach() for task_id, loss in one.losses.items()}
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

    def _single_passes(self, draws: Sequence[Draw], batches: Sequence[Batch], progress: float) -> Iterator[Pass]:
        """Run one draw after the other; all count alike."""
        for draw, batch in zip(draws, batches, strict=True):
            images = self._images(batch, progress)
            with self._autocast():
                outputs = self._parts.network.supervised(images, batch.targets)
            losses = self._losses(draw, batch, outputs)
            yield Pass(losses, dict.fromkeys(losses, 1.0), 1 / len(draws), self._ranks.part(len(draw.rows)))

    def _mixed_pass(self, draws: Sequence[Draw], batches: Sequence[Batch], progress: float) -> Iterator[Pass]:
        """Run all draws as one batch."""
        images = {draw.task_id: self._images(batch, progress) for draw, batch in zip(draws, batches, strict=True)}
        with self._autocast():
            outputs = self._parts.network.supervised_mixed(images)
        losses: dict[str, Tensor] = {}
        for draw, batch in zip(draws, batches, strict=True):
            losses |= self._losses(draw, batch, outputs)
        sizes = [len(draw.rows) for draw in draws]
        part = sum(self._ranks.part(size) * size for size in sizes) / sum(sizes)
        yield Pass(losses, self._shares(draws), 1.0, part)

    def _shares(self, draws: Sequence[Draw]) -> dict[str, float]:
        """Return each task's share of its kind's images: the losses of a kind are a mean, and the kinds add up.

        As in PerceptGuide, whose loss is that of the batch's masks plus that of its classes.
        """
        tasks = self._parts.network.tasks
        images: Counter[TaskKind] = Counter()
        for draw in draws:
            images[tasks[draw.task_id].kind] += len(draw.rows)
        return {draw.task_id: len(draw.rows) / images[tasks[draw.task_id].kind] for draw in draws}

    def _losses(self, draw: Draw, batch: Batch, outputs: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
        """Return the loss of every task that the draw teaches, each over the images that have a row for it."""
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

    def _autocast(self) -> torch.autocast:
        reduced = self._precision is not torch.float32
        return torch.autocast(self._parts.device.type, self._precision if reduced else None, enabled=reduced)

    def _backward(self, one: Pass) -> None:
        """Add the gradients of a pass: its balanced losses, each times its weight, and what the network itself adds."""
        balanced = [one.weights[task_id] * self._parts.balance(loss, task_id) for task_id, loss in one.losses.items()]
        total = torch.stack(balanced).sum()
        extra = self._parts.network.auxiliary_loss()
        if extra is not None:
            total = total + one.part * extra
        self._scaler.scale(one.share * total).backward()  # type: ignore[no-untyped-call]

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
