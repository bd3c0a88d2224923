"""The training loop."""

import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from challenge.errors import UserError
from challenge.host.progress import progress
from challenge.host.signals import StopRequest
from challenge.tasks import TaskKind, TaskSpec
from model.networks.registry import build
from model.networks.system import System
from training.augmentation.augment import normalise
from training.augmentation.task_rules import rules_of
from training.config import Config, RuntimeConfig, from_dict, to_dict, with_overrides, write_json
from training.data.dataset import Batch, Dataset
from training.data.loader import steps
from training.data.rows import DataSource, load_parts
from training.data.sampling import Draw, TaskSampler
from training.distributed import Ranks
from training.loop.optim import make_optimizer, set_learning_rates, total_steps
from training.loop.schedule import Schedule
from training.loop.stopped import Stopped
from training.losses import task_loss
from training.losses.balance import TaskBalance
from training.pretrained.building import build_network, check_recipe, frozen_parameters, shared_modules
from training.pretrained.encoder_weights import check_source
from training.run_folder import checkpoint
from training.run_folder.digests import Digests, check_resumed
from training.run_folder.run_facts import facts_of
from training.run_folder.run_log import RunLog
from training.run_folder.run_report import write_report
from training.run_folder.trainable import Start
from training.runtime import set_up
from training.selection.dev_scores import DevScorer, DevScores
from training.task_names import check_task_names

logger = logging.getLogger(__name__)


class Trainer:
    """One run: its data, network, optimiser and counters. `run` goes on from wherever they stand."""

    def __init__(
        self, config: Config, source: DataSource, output: Path, start: Start | None = None, ranks: Ranks | None = None
    ) -> None:
        self.config, self.output, self.ranks = config, output, ranks or Ranks()
        check_recipe(config)
        check_task_names(config, source, start.tasks if start else ())
        if not start:
            check_source(config.encoder.weights)
        self.device = set_up(config.runtime, self.ranks)
        train, dev = load_parts(source, config, self.ranks)
        if not train.samples:
            raise UserError(f"no row of {source.data_root} is left to train on: all of them are to judge by")
        specs = {s.task_id: TaskSpec(s.task_id, s.kind, s.num_classes) for s in train.samples}
        rules = {task_id: rules_of(spec, config.tasks) for task_id, spec in specs.items()}
        self.data = Dataset(train.samples, train.store, rules, config.augment, config.seed,
                            config.sampling.joint)  # fmt: skip
        kinds = {task_id: spec.kind for task_id, spec in specs.items()}
        self.sampler = TaskSampler(self.data.sizes, config.optim.batch_size, config.seed, config.sampling, kinds)
        self.position: Mapping[str, Any] = self.sampler.state_dict()
        placed = (TaskKind.DETECTION, TaskKind.REGRESSION)
        self.means = {t: self.data.mean_target(t) for t, spec in specs.items() if spec.kind in placed}
        self.digests = Digests.of(train, dev, start.state if start else None)
        self.known = facts_of(start, self.data.sizes, self.means, self.digests)

        torch.manual_seed(config.seed)
        self.network = build_network(config, self.data.tasks, self.means, start).to(self.device)
        if self.ranks.count > 1 and self.device.type == "cuda":
            self.network = nn.SyncBatchNorm.convert_sync_batchnorm(self.network)  # type: ignore[no-untyped-call]
        if config.runtime.channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)
        self.shared = shared_modules(self.network)
        self.frozen = frozen_parameters(self.network, config)
        self.ema = ModelEmaV3(self.network, decay=config.optim.ema_decay) if config.optim.ema_decay else None
        if config.runtime.compile:
            for module in self.shared:
                module.compile()
        counts = {t: self.data.class_counts(t) for t, s in specs.items() if s.kind is TaskKind.CLASSIFICATION}
        self.losses = {t: task_loss(spec, config.loss, counts.get(t, ())) for t, spec in specs.items()}
        self.balance = TaskBalance(specs.values(), config.balance).to(self.device)
        self.optimizer = make_optimizer(self.network, config.optim, self.balance)
        self.precision = getattr(torch, config.runtime.precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision is torch.float16)

        self.scorer = DevScorer(dev, config.data, {t: tuple(mean) for t, mean in self.means.items()})
        self.scores: DevScores | None = None
        self.best, self.stale = float("-inf"), 0
        self.images_seen = 0
        self.sums: dict[str, list[Tensor]] = defaultdict(list)
        """Losses since the last line of the log, by task."""
        self._cpu_before = 0.0  # of the processes whose work this one resumes
        self.progress = 0.0
        self.log = RunLog(output) if self.ranks.is_first else None
        if self.ranks.is_first:
            write_json(config, output / "config.json")

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.position["step"])

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all threads since the run began, without worker processes."""
        return round(self._cpu_before + time.process_time(), 1)

    @property
    def is_over(self) -> bool:
        """Whether the schedule is done, or the dev scores have not become better for long enough."""
        return self.progress >= 1 or 0 < self.config.dev.patience <= self.stale

    def run(self, max_minutes: float | None = None) -> None:
        """Train to the end of the schedule, which `max_minutes` shortens to that time; then score and report.

        A signal ends it after the step under way and a checkpoint. Raises Stopped.
        """
        config = self.config
        count = total_steps(config.optim, config.sampling)
        schedule = Schedule(count, max_minutes, self.progress)
        loader = steps(self.data, self.sampler, self.ranks, config.runtime.workers)
        seen, since = self.images_seen, time.monotonic()
        with StopRequest() as stop:
            for _ in progress(range(self.step, count), label="steps"):
                if self.is_over:
                    break
                draws, batches, self.position = next(loader)
                for task_id, loss in self.train_step(draws, batches).items():
                    self.sums[task_id].append(loss)
                self.progress = schedule.progress(self.step)
                if max_minutes:
                    self.progress = self.ranks.agree(self.progress)
                scoring = bool(config.dev.every) and (self.step % config.dev.every == 0 or self.is_over)
                if scoring or self.is_over or self.step % config.checkpoint_every == 0:
                    self._log((self.images_seen - seen) / (time.monotonic() - since))
                    if scoring:
                        self._score()
                    self.save()
                    seen, since = self.images_seen, time.monotonic()
                if number := self.ranks.highest(stop.received or 0):
                    self.save()
                    raise Stopped(number, self.step, self.output)
        self.finish()

    def train_step(self, draws: Sequence[Draw], batches: Sequence[Batch]) -> dict[str, Tensor]:
        """One optimiser step over one or several tasks. Return the losses of the whole batches."""
        config, step = self.config, self.step - 1
        # Dropout depends on seed, step and rank alone: no random state has to be kept to resume exactly.
        torch.manual_seed(int(np.random.default_rng((config.seed, step, self.ranks.rank)).integers(2**63)))
        self._train_mode()
        set_learning_rates(self.optimizer, step, self.progress, config.optim)
        self.optimizer.zero_grad(set_to_none=True)
        losses: dict[str, Tensor] = {}
        for draw, batch in zip(draws, batches, strict=True):
            of_batch = self._losses(draw, batch)
            weighted = torch.stack([self.balance(loss, task_id) for task_id, loss in of_batch.items()]).sum()
            extra = self.network.auxiliary_loss()
            if extra is not None:
                weighted = weighted + extra / self.ranks.count
            self.scaler.scale(weighted / len(draws)).backward()  # type: ignore[no-untyped-call]
            losses |= {task_id: loss.detach() for task_id, loss in of_batch.items()}
            self.images_seen += len(draw.rows)
        self.scaler.unscale_(self.optimizer)
        self.ranks.sum_gradients(self.network.parameters())
        if config.optim.clip_norm:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.optim.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.ema:
            # An average over more steps than there were would still hold the random start.
            self.ema.decay = min(config.optim.ema_decay, (1 + step) / (10 + step))
            self.ema.update(self.network)
        return losses

    def _losses(self, draw: Draw, batch: Batch) -> dict[str, Tensor]:
        """Return the loss of every task that the draw teaches, each over the images that have a row for it."""
        images = normalise(batch.images.to(self.device, non_blocking=True), self.config.data)
        if self.progress < self.config.optim.small_until:
            size = self.config.optim.small_size
            images = F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)
        if self.config.runtime.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        reduced = self.precision is not torch.float32
        with torch.autocast(self.device.type, self.precision if reduced else None, enabled=reduced):
            outputs = self.network.answers(images, batch.targets)
        losses = {}
        for task_id, positions in self.data.known(draw).items():
            output = self.ranks.gather_rows(outputs[task_id].float(), len(draw.rows))[positions]
            target = batch.targets[task_id].to(self.device, non_blocking=True)
            target = self.ranks.gather_rows(target, len(draw.rows))[positions]
            losses[task_id] = self.losses[task_id](output, target.long() if target.dtype is torch.uint8 else target)
        return losses

    def _train_mode(self) -> None:
        self.network.train(self.config.optim.trained == "all")
        if self.config.encoder.freeze_batchnorm:
            for module in self.network.encoder.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        starting = self.progress < self.config.optim.freeze_shared
        for module in self.shared:
            module.requires_grad_(not starting)
            if starting:
                module.eval()
        for parameter in self.frozen:
            parameter.requires_grad_(False)

    def _score(self) -> None:
        """Score the dev rows; keep the network if it is the best so far."""
        if not self.scorer.part.samples:
            return
        if self.ranks.is_first:
            self.scores = self.scorer.score(self.ema.module if self.ema else self.network)
        selection = self.ranks.agree(self.scores.selection if self.scores else 0.0)
        is_best = selection > self.best
        self.best, self.stale = max(self.best, selection), 0 if is_best else self.stale + 1
        if self.log and self.scores:
            self.log.write({"step": self.step, "selection": selection, "dev": self.scores.tasks})
            logger.info("step %d: dev selection %.4f%s", self.step, selection, ", the best so far" if is_best else "")
            if is_best:
                checkpoint.save(self.output / checkpoint.BEST, self._network_state())

    def _log(self, rate: float) -> None:
        means = {task_id: float(torch.stack(values).mean()) for task_id, values in sorted(self.sums.items())}
        self.sums.clear()
        broken = [task_id for task_id, value in means.items() if not np.isfinite(value)]
        if broken:
            raise UserError(
                f"the loss of {', '.join(broken)} is not finite at step {self.step}; begin anew with lower learning "
                "rates, optim.clip_norm = 1.0 or runtime.precision = 'float32'"
            )
        if self.log:
            self.log.write({
                "step": self.step,
                "images": self.images_seen,
                "cpu_seconds": self.cpu_seconds,
                "loss": {task_id: round(value, 5) for task_id, value in means.items()},
                "progress": round(self.progress, 5),
                "lr": {"encoder": self.optimizer.param_groups[0]["lr"], "heads": self.optimizer.param_groups[-1]["lr"]},
                "images_per_second": round(rate, 2),
            })  # fmt: skip
            logger.info("step %d, %d images: mean loss %.4f, %.1f images/s", self.step, self.images_seen,
                        sum(means.values()) / max(1, len(means)), rate)  # fmt: skip

    def finish(self) -> None:
        """Score the final network if that was not done, and write the report: table, curves."""
        if not self.config.dev.every:
            self._score()
            self.save()
        if self.ranks.is_first:
            write_report(self.output, self.network.tasks, self.data.sizes)
        self.ranks.barrier()

    def save(self) -> None:
        """Write the checkpoint from which `restore` goes on."""
        if self.ranks.is_first:
            state = {
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "balance": self.balance.state_dict(),
                "progress": self.progress,
                "best": self.best,
                "stale": self.stale,
                "sums": dict(self.sums),
            }
            checkpoint.save(self.output / checkpoint.LAST, {**self._network_state(), **state})

    def _network_state(self) -> dict[str, Any]:
        return {
            "config": to_dict(self.config),
            "tasks": [(s.task_id, str(s.kind), s.num_classes) for s in self.network.tasks.values()],
            "network": self.network.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "sampler": dict(self.position),
            "images_seen": self.images_seen,
            "cpu_seconds": self.cpu_seconds,
            "facts": self.facts(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint of this run. Raises UserError if its data are others."""
        check_resumed(Digests.recorded(state["facts"]), self.digests, self.output)
        self.sampler.load_state_dict(state["sampler"])
        self.position = self.sampler.state_dict()
        self.network.load_state_dict(state["network"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.balance.load_state_dict(state["balance"])
        for task_id, losses in state.get("sums", {}).items():
            self.sums[task_id] = [loss.to(self.device) for loss in losses]
        self.images_seen, self.progress = state["images_seen"], state["progress"]
        self._cpu_before = state.get("cpu_seconds", 0.0) - time.process_time()
        self.known = {key: value for key, value in state["facts"].items() if key != "dev"}
        self.best, self.stale = state["best"], state["stale"]
        if self.log:
            self.log.forget_after(self.step)
        logger.info("resumed at step %d", self.step)

    def facts(self) -> dict[str, Any]:
        """What the weights must record: what was known at the start (`facts_of`), and the dev scores."""
        dev = {task_id: dict(scores) for task_id, scores in self.scores.tasks.items()} if self.scores else {}
        return {**self.known, "dev": dev}


def check_same_recipe(state: Mapping[str, Any], config: Config) -> None:
    """Raise UserError if a checkpoint's recipe is another, but for what changes nothing of the result."""
    before, now = (
        replace(recipe, runtime=RuntimeConfig(), extra_tasks=()) for recipe in (from_dict(state["config"]), config)
    )
    if before != now:
        raise UserError("the run was started with another config; use the same one, or another output folder")


def load_network(run: Path, overrides: tuple[str, ...] = ()) -> tuple[System, Config, dict[str, Any]]:
    """Return a run's network in eval mode, its config with `section.key=value` overrides, and its facts.

    That is the network that was best on the dev rows, else the last one; its EMA where there is one.
    """
    state = checkpoint.load_best(run)
    config = with_overrides(from_dict(state["config"]), overrides)
    tasks = [TaskSpec(task_id, TaskKind(kind), number) for task_id, kind, number in state["tasks"]]
    network = build(config.system.name, tasks, **config.system.options)
    network.load_state_dict(state["ema"] or state["network"])
    facts = {
        **state["facts"],
        "images_seen": state["images_seen"],
        "steps": state["sampler"]["step"],
        "cpu_seconds": state.get("cpu_seconds"),
    }
    return network.eval(), config, facts
