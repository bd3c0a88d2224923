"""The training loop: draw, step, and from time to time log, score the dev rows and write a checkpoint."""

import logging
import signal
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from challenge.errors import UserError
from challenge.host.progress import progress
from challenge.host.signals import Stopped, StopRequest
from model.networks.system import System
from training.config import Config
from training.data.dataset import Batch
from training.data.loader import steps
from training.data.sampling import Draw
from training.distributed import Ranks
from training.loop.optim import total_steps
from training.loop.parts import Parts
from training.loop.schedule import Schedule
from training.loop.step import Step
from training.loop.time_left import Plan, TimeLeft
from training.run_folder import checkpoint_file
from training.run_folder.checkpoint_state import Resume, RunState
from training.run_folder.digests import check_resumed
from training.run_folder.run_facts import Counters, RunFacts
from training.run_folder.run_log import RunLog
from training.run_folder.run_report import ALL_ROWS, write_report
from training.selection.dev_scores import DevScorer

logger = logging.getLogger(__name__)


@dataclass
class Position:
    """Where a run stands. `sampler` is the sampler's state after the last step; the others are as in `Resume`."""

    sampler: Mapping[str, Any]
    images_seen: int = 0
    progress: float = 0.0
    best: float = float("-inf")
    stale: int = 0
    sums: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))


class Trainer:
    """One run. `run` goes on from wherever the run stands."""

    def __init__(self, config: Config, parts: Parts, output: Path, ranks: Ranks | None = None) -> None:
        self.config, self.parts, self.output, self.ranks = config, parts, output, ranks or Ranks()
        self.facts: RunFacts = parts.facts
        self.position = Position(parts.sampler.state_dict())
        self.log = RunLog(output) if self.ranks.is_first else None
        self._step = Step(config, parts, self.ranks)
        self._cpu_before = 0.0  # seconds, of the processes whose work this one resumes
        scorers = (parts.quick_scorer, parts.scorer)
        rows = [len(scorer.part.samples) for scorer in scorers]
        self._time_left = TimeLeft(Plan.of(config, total_steps(config.optim, config.sampling), *rows))
        self._lap = (0, time.monotonic())  # images seen and time when the speed was last measured

    @property
    def step(self) -> int:
        """Steps done."""
        return int(self.position.sampler["step"])

    @property
    def counters(self) -> Counters:
        """The work so far; the processor time is that of all threads, without worker processes."""
        cpu_seconds = round(self._cpu_before + time.process_time(), 1)
        return Counters(self.step, self.position.images_seen, cpu_seconds)

    @property
    def is_over(self) -> bool:
        """Whether the schedule is done, or the dev scores have not become better for long enough."""
        return self.position.progress >= 1 or 0 < self.config.dev.patience <= self.position.stale

    def run(self, max_minutes: float | None = None) -> None:
        """Train to the end of the schedule, which `max_minutes` shortens to that time; then score and report.

        After a signal the present step is finished and a checkpoint written. Raises Stopped.
        """
        count = total_steps(self.config.optim, self.config.sampling)
        schedule = Schedule(count, max_minutes, self.position.progress)
        loader = steps(self.parts.data, self.parts.sampler, self.ranks, self.config.runtime.workers)
        self._start_lap()
        self._time_left.begin()
        with StopRequest() as stop, closing(loader):
            for _ in progress(range(self.step, count), label="steps", left=partial(self._seconds_left, schedule)):
                if self.is_over:
                    break
                draws, batches, self.position.sampler = next(loader)
                self.train_step(draws, batches)
                now = schedule.progress(self.step)
                self.position.progress = self.ranks.agree(now) if max_minutes else now
                self._keep_record()
                if number := self.ranks.highest(stop.received or 0):
                    self.save()
                    raise Stopped(
                        number,
                        f"stopped by {signal.Signals(number).name}; the checkpoint after step {self.step} is in "
                        f"{self.output}; repeat the command with --resume",
                    )
        self.finish()

    def train_step(self, draws: Sequence[Draw], batches: Sequence[Batch]) -> dict[str, Tensor]:
        """Do the step that the sampler's state counts already. Return the losses of the whole batches by task."""
        losses = self._step(draws, batches, self.step - 1, self.position.progress)
        for task_id, loss in losses.items():
            self.position.sums[task_id].append(loss)
        self.position.images_seen += sum(len(draw.rows) for draw in draws)
        return losses

    def finish(self) -> None:
        """Score the last network if that was not done, else the best on all rows; write the report: table, curves."""
        if not self.config.dev.every:
            self._score(self.parts.scorer)
            self.save()
        elif len(self.parts.quick_scorer.part.samples) < len(self.parts.scorer.part.samples):
            self._score_best()
            self.save()
        if self.ranks.is_first:
            write_report(self.output, self.parts.network.tasks, self.parts.data.sizes)
        self.ranks.barrier()

    def _keep_record(self) -> None:
        """Log, score and save, whichever is due after this step."""
        every = self.config.dev.every
        scoring = bool(every) and (self.step % every == 0 or self.is_over)
        if scoring or self.is_over or self.step % self.config.checkpoint_every == 0:
            self._log()
            if scoring:
                self._time_left.stepped(self.step)
                self._score(self.parts.quick_scorer)
                self._time_left.scored()
            self.save()
            self._start_lap()
        if scoring:
            self._time_left.begin()
        else:
            self._time_left.stepped(self.step)

    def _seconds_left(self, schedule: Schedule) -> float | None:
        """Return how long the run still takes, all scorings included; a time budget may shorten the steps."""
        seconds, budget = self._time_left.seconds(self.step), schedule.seconds_left()
        return min(seconds, budget) if seconds is not None and budget is not None else seconds

    def _start_lap(self) -> None:
        self._lap = (self.position.images_seen, time.monotonic())

    @property
    def _scored(self) -> System:
        """The network that is scored: the EMA where there is one."""
        ema = self.parts.ema
        return cast(System, ema.module) if ema else self.parts.network

    def _score(self, scorer: DevScorer) -> None:
        """Score dev rows; keep the network if it is the best so far."""
        position = self.position
        if not scorer.part.samples:
            return
        scores = scorer.score(self._scored) if self.ranks.is_first else None
        selection = self.ranks.agree(scores.selection if scores else 0.0)
        is_best = selection > position.best
        position.best, position.stale = max(position.best, selection), 0 if is_best else position.stale + 1
        if self.log and scores:
            self.facts = replace(self.facts, dev={task_id: dict(own) for task_id, own in scores.tasks.items()})
            self.log.write({"step": self.step, "selection": selection, "dev": scores.tasks})
            logger.info("step %d: dev selection %.4f%s", self.step, selection, ", the best so far" if is_best else "")
            if is_best:
                checkpoint_file.save(self.output / checkpoint_file.BEST, self.state())

    def _score_best(self) -> None:
        """Score the best network so far on all dev rows, and record that in its checkpoint and in the log."""
        if not self.log:
            return
        best = checkpoint_file.load(self.output / checkpoint_file.BEST)
        last = {name: value.clone() for name, value in self._scored.state_dict().items()}
        self._scored.load_state_dict(best.weights)
        scores = self.parts.scorer.score(self._scored)
        self._scored.load_state_dict(last)
        self.facts = replace(self.facts, dev={task_id: dict(own) for task_id, own in scores.tasks.items()})
        self.position.best = scores.selection
        step = best.counters.steps
        self.log.write({"step": step, "selection": scores.selection, "dev": scores.tasks, ALL_ROWS: True})
        logger.info("the best network, of step %d: dev selection %.4f on all rows", step, scores.selection)
        checkpoint_file.save(self.output / checkpoint_file.BEST, replace(best, facts=self.facts))

    def _log(self) -> None:
        """Write the mean losses since the last line, the rates and the speed. Raises UserError if a loss diverged."""
        means = self._mean_losses()
        images, began = self._lap
        speed = (self.position.images_seen - images) / (time.monotonic() - began)
        groups = self.parts.optimizer.param_groups
        if self.log:
            self.log.write(
                {
                    "step": self.step,
                    "images": self.position.images_seen,
                    "cpu_seconds": self.counters.cpu_seconds,
                    "loss": {task_id: round(value, 5) for task_id, value in means.items()},
                    "progress": round(self.position.progress, 5),
                    "lr": {"encoder": groups[0]["lr"], "heads": groups[-1]["lr"]},
                    "images_per_second": round(speed, 2),
                }
            )
            logger.info(
                "step %d, %d images: mean loss %.4f, %.1f images/s",
                self.step,
                self.position.images_seen,
                sum(means.values()) / max(1, len(means)),
                speed,
            )

    def _mean_losses(self) -> dict[str, float]:
        """Return the mean loss of every task since the last call."""
        sums = self.position.sums
        means = {task_id: float(torch.stack(values).mean()) for task_id, values in sorted(sums.items())}
        sums.clear()
        if broken := [task_id for task_id, value in means.items() if not np.isfinite(value)]:
            raise UserError(
                f"the loss of {', '.join(broken)} is not finite at step {self.step}; start again with lower learning "
                "rates, optim.clip_norm = 1.0 or runtime.precision = 'float32'"
            )
        return means

    def state(self, resume: Resume | None = None) -> RunState:
        """Return what a checkpoint holds."""
        network, ema = self.parts.network, self.parts.ema
        return RunState(
            config=self.config,
            tasks=tuple(network.tasks.values()),
            network=network.state_dict(),
            ema=ema.module.state_dict() if ema else None,
            counters=self.counters,
            facts=self.facts,
            resume=resume,
        )

    def save(self) -> None:
        """Write the checkpoint from which `restore` goes on."""
        if not self.ranks.is_first:
            return
        at = self.position
        resume = Resume(
            optimizer=self.parts.optimizer.state_dict(),
            scaler=self._step.state_dict(),
            balance=self.parts.balance.state_dict(),
            sampler=dict(at.sampler),
            progress=at.progress,
            best=at.best,
            stale=at.stale,
            sums=dict(at.sums),
        )
        checkpoint_file.save(self.output / checkpoint_file.LAST, self.state(resume))

    def restore(self, state: RunState) -> None:
        """Go on from a checkpoint of this run. Raises UserError if the data differ, or if it is a best one."""
        resume, parts = state.resume, self.parts
        if resume is None:
            raise UserError(f"the checkpoint in {self.output} holds only a network; give it to `train --from`")
        check_resumed(state.facts.digests, parts.facts.digests, self.output)
        parts.sampler.load_state_dict(resume.sampler)
        parts.network.load_state_dict(state.network)
        if parts.ema and state.ema:
            parts.ema.module.load_state_dict(state.ema)
        parts.optimizer.load_state_dict(dict(resume.optimizer))
        parts.balance.load_state_dict(resume.balance)
        self._step.load_state_dict(resume.scaler)
        sums = {task_id: [loss.to(parts.device) for loss in losses] for task_id, losses in resume.sums.items()}
        self.position = Position(
            parts.sampler.state_dict(), state.counters.images_seen, resume.progress, resume.best, resume.stale
        )
        self.position.sums.update(sums)
        self.facts = state.facts
        self._cpu_before = state.counters.cpu_seconds - time.process_time()
        if self.log:
            self.log.forget_after(self.step)
        logger.info("resumed at step %d", self.step)
