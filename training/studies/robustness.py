"""How much worse a network is on images as another machine, hospital or export would have made them."""

import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from challenge.errors import UserError
from challenge.manifest import Sample
from challenge.tasks import TaskKind
from evaluate.scores.metric_table import Metric, metrics_of
from training.data.pixels import Pixels
from training.data.rows import DataSource
from training.run_folder.checkpoint_state import RunState
from training.run_folder.digests import is_own
from training.run_folder.trainable import load_network
from training.selection.dev_scores import DevScorer, DevScores
from training.selection.refinement import read_refinements
from training.selection.run_scores import open_run
from training.studies import corruptions, other_machines
from training.studies.corruptions import Change

logger = logging.getLogger(__name__)

CHANGES: Mapping[str, Mapping[str, Change]] = {
    "corruptions": {
        "speckle": corruptions.speckle,
        "gain": corruptions.gain,
        "blur": corruptions.blur,
        "JPEG": corruptions.jpeg,
        "contrast": corruptions.contrast,
        "crop": corruptions.crop,
    },
    "machines": {
        "scan converter": other_machines.scan_converter,
        "look-up table": other_machines.look_up_table,
        "colour map": other_machines.colour_map,
        "frame grabber": other_machines.frame_grabber,
        "speckle filter": other_machines.speckle_filter,
    },
}
"""By the name of a set, what is done to each image before the network sees it."""

SELECTION = "selection"
"""The row of the table that is no task: the number by which the best network of a run is chosen."""


@dataclass(frozen=True)
class Robustness:
    """A task's headline score (or the selection) on clean images and under every change, by name."""

    name: str
    metric: Metric | None
    clean: float
    changed: Mapping[str, float]

    @property
    def mean(self) -> float:
        """The mean over the changes."""
        return float(np.mean(list(self.changed.values())))

    def text(self, value: float) -> str:
        """Return a value with the digits of its metric."""
        return self.metric.text(value) if self.metric else f"{value:.4f}"


def robustness(
    runs: Sequence[Path], source: DataSource, changes: Mapping[str, Change], *, refined: bool = False
) -> Iterator[Robustness]:
    """Score the first run's network on its dev rows in `source`, clean and changed; yield every task in kind order.

    The networks of further `runs` answer with it, joined as an export of several is, on the tasks that all of them
    were trained on. A warning says if these rows are not the dev rows of all. The last line is the selection over all
    tasks. `refined` adds the post-processing that was chosen for the first run. Raises UserError if no task is left, or
    if the networks take images of another size or in another way.
    """
    network, _, scorer = open_run(runs[0], source)
    if refined:
        scorer = replace(scorer, refinements=read_refinements(runs[0]))
    if others := [load_network(run) for run in runs[1:]]:
        for other, (_, state) in zip(runs[1:], others, strict=True):
            _check_fits(other, state, runs[0], scorer)
        scorer = replace(scorer, others=[other for other, _ in others])
        samples = [s for s in scorer.part.samples if all(s.task_id in state.facts.rows for _, state in others)]
        if not samples:
            raise UserError(f"no task of {runs[0]} was learned by all of these runs; name runs that share a task")
        if left := sorted({s.task_id for s in scorer.part.samples} - {s.task_id for s in samples}):
            logger.warning("not all of these runs learned %s; left out, also of the selection", ", ".join(left))
        scorer = scorer.on(samples)
    clean = scorer.score(network)
    found: dict[str, DevScores] = {}
    for name, change in changes.items():
        logger.info("scoring under %s", name)
        found[name] = replace(scorer, view=partial(_changed, name, change)).score(network)
    for kind in TaskKind:
        metric = metrics_of(kind)[0]
        for task_id in (t for t in clean.tasks if network.tasks[t].kind is kind):
            under = {name: scores.tasks[task_id][metric.name] for name, scores in found.items()}
            yield Robustness(task_id, metric, clean.tasks[task_id][metric.name], under)
    yield Robustness(SELECTION, None, clean.selection, {name: scores.selection for name, scores in found.items()})


def _check_fits(other: Path, state: RunState, first: Path, scorer: DevScorer) -> None:
    mine, theirs = scorer.data, state.config.data
    for key in ("image_size", "mean", "std", "resampling", "fit"):
        if getattr(mine, key) != getattr(theirs, key):
            raise UserError(f"{other} has another data.{key} than {first}; name runs that agree")
    if not is_own(state.facts.digests, scorer.part):
        logger.warning("the dev rows of %s are not the same; if it learned some of these, scores are too good", other)


def table(rows: Iterator[Robustness], changes: Mapping[str, Change]) -> Iterator[str]:
    """Yield the lines of a table (Markdown): one row for each task, one column for each change, and their mean."""
    names = [*changes, "mean of these"]
    yield f"| task | score | clean | {' | '.join(names)} |"
    yield "|---|---|---|" + "---|" * len(names)
    for row in rows:
        values = (row.clean, *row.changed.values(), row.mean)
        score = row.metric.name if row.metric else ""
        yield f"| {row.name} | {score} | {' | '.join(map(row.text, values))} |"


def _changed(name: str, change: Change, sample: Sample, pixels: Pixels) -> Pixels:
    """Change an image in a way of its own that is the same each time."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {sample.image_path}".encode()))
    return np.ascontiguousarray(change(pixels, rng))
