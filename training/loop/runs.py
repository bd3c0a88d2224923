"""Starts, resumes and cross-validates runs."""

import json
import logging
import statistics
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from challenge.errors import UserError
from challenge.host.shortage import allow_open_files
from training.config import Config, RuntimeConfig, write_json
from training.data.rows import DataSource, Fold, load_parts
from training.distributed import Ranks
from training.loop.parts import build_parts
from training.loop.trainer import Trainer
from training.run_folder import checkpoint_file
from training.run_folder.checkpoint_state import RunState
from training.run_folder.digests import Digests, check_resumed, check_same_start, warn_of_learned_rows
from training.run_folder.run_report import TABLE
from training.run_folder.trainable import Start
from training.text_files import write_text

logger = logging.getLogger(__name__)

FOLDS = "folds.json"

# Each tensor that waits between a worker and the run is an open file; joint batches have a dozen of them.
_OPEN_FILES, _OPEN_FILES_OF_WORKER = 128, 128


def train_run(
    config: Config,
    source: DataSource,
    output: Path,
    ranks: Ranks,
    *,
    resume: bool = False,
    max_minutes: float | None = None,
    start: Start | None = None,
) -> Trainer:
    """Train into `output`, or resume the run there; its checkpoint then says what the run began with.

    Raises UserError if `output` holds a run and `resume` is not set, or if that run had another recipe or other data;
    Stopped if a signal ended it.
    """
    allow_open_files(_OPEN_FILES + _OPEN_FILES_OF_WORKER * config.runtime.workers)
    last = output / checkpoint_file.LAST
    if not resume and last.exists():
        raise UserError(f"{output} holds a run already; add --resume, or choose another folder")
    state = checkpoint_file.load(last) if last.exists() else None
    if state:
        config = resumed_recipe(state, config)
        if start:
            check_same_start(state.facts.digests, start.state, output)
        start = Start.of(state)
    output.mkdir(parents=True, exist_ok=True)
    parts = build_parts(config, source, start, ranks)
    if ranks.is_first:
        write_json(config, output / "config.json")
    trainer = Trainer(config, parts, output, ranks)
    if state:
        trainer.restore(state)
    elif trainer.log:
        if start:
            warn_of_learned_rows(start.facts.digests, parts.facts.digests)
        trainer.log.forget_after(0)  # of a run that was killed before its first checkpoint
    trainer.run(max_minutes)
    return trainer


def is_finished(config: Config, source: DataSource, output: Path, ranks: Ranks) -> bool:
    """Return whether `output` holds a finished run. Raises UserError if it had another recipe or other data."""
    if not (output / TABLE).is_file():
        return False
    state = checkpoint_file.load(output / checkpoint_file.LAST)
    config = resumed_recipe(state, config)
    check_resumed(state.facts.digests, Digests.of(*load_parts(source, config.data, config.runtime, ranks)), output)
    return True


def resumed_recipe(state: RunState, config: Config) -> Config:
    """Return the recipe to resume a run with: `config`, with the split that the run began with.

    A run that is older than `data.near_copies` did not join near-copies, and goes on without. One that is older than
    `dev.rows` scored all dev rows, and goes on so. Raises UserError if the run's recipe is another, except for settings
    that do not change the result.
    """
    if not state.config.data.near_copies and config.data.near_copies:
        logger.warning("the run began without data.near_copies and goes on without, so that its dev rows stay the same")
        config = replace(config, data=replace(config.data, near_copies=0.0))
    if not state.config.dev.rows:
        config = replace(config, dev=replace(config.dev, rows=0))
    before, now = (replace(recipe, runtime=RuntimeConfig(), extra_tasks=()) for recipe in (state.config, config))
    if before != now:
        raise UserError("the run was started with another config; use the same one, or another output folder")
    return config


def cross_validate(
    config: Config,
    source: DataSource,
    output: Path,
    ranks: Ranks,
    folds: int,
    *,
    resume: bool = False,
    max_minutes: float | None = None,
) -> None:
    """Train `folds` networks into `output/fold-N`, each scored on the rows left out, and write the mean scores.

    With `resume`, finished folds are kept. `max_minutes` is the time for all remaining folds together.
    """
    homes = [output / f"fold-{number}" for number in range(folds)]
    parts = [replace(source, fold=Fold(number, folds)) for number in range(folds)]
    waiting = [n for n in range(folds) if not (resume and is_finished(config, parts[n], homes[n], ranks))]
    for number in waiting:
        logger.info("fold %d of %d", number + 1, folds)
        minutes = max_minutes / len(waiting) if max_minutes else None
        train_run(config, parts[number], homes[number], ranks, resume=resume, max_minutes=minutes)
    if ranks.is_first:
        write_text(output / FOLDS, json.dumps(_summary(homes), indent=1) + "\n")


def _summary(homes: list[Path]) -> dict[str, Any]:
    """Mean and standard deviation over the folds of the selection and of every task's scores."""
    states = [checkpoint_file.load(home / checkpoint_file.LAST) for home in homes]
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for state in states:
        for task_id, scores in state.facts.dev.items():
            for name, value in scores.items():
                values[task_id][name].append(value)
    return {
        "folds": len(homes),
        "selection": _spread([state.resume.best for state in states if state.resume]),
        "tasks": {t: {name: _spread(v) for name, v in scores.items()} for t, scores in sorted(values.items())},
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "sd": statistics.stdev(values) if len(values) > 1 else 0.0}
