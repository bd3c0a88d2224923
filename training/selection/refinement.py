"""Choosing what the answers of runs gain by (`model.frozen.outputs.postprocess`), task by task, on their dev rows."""

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec
from evaluate.scores.metric_table import Metric, metrics_of
from model.frozen.outputs.postprocess import Postprocessing, SecondLook
from model.frozen.outputs.views import FLIP, VIEWS
from model.networks.system import System
from training.augmentation.task_rules import TaskRules, rules_of
from training.data.rows import DataSource, Fold
from training.run_folder.trainable import load_network
from training.selection.dev_scores import DevScorer
from training.selection.run_scores import own_rows, scorer_of
from training.text_files import write_text

FILE = "refinements.json"
# The least gain on the dev rows, as a part of the score: less may be chance, and a second pass doubles the time.
_LEAST_GAIN, _LEAST_GAIN_OF_A_PASS = 0.001, 0.003
PLAIN, ROTATIONS = "none", "rotations"
_ROTATED = ("rotate -10", "rotate 10")
_DEGREES = 10
_VIEWS = {FLIP: (FLIP,), "scales": ("scale 0.85", "scale 1.2"), ROTATIONS: _ROTATED}
_TIDY = {
    "largest component": Postprocessing(largest_component=True),
    "holes filled": Postprocessing(fill_holes=True),
    "both": Postprocessing(largest_component=True, fill_holes=True),
}
# The one that takes less time comes first: the other must be better by the least gain.
_LOOKS = {"look if under 10 %": SecondLook(largest_area=0.1), "look": SecondLook()}
VARIANTS = (PLAIN, *_TIDY, *_LOOKS, *_VIEWS)


@dataclass(frozen=True)
class Choice:
    """A task's main score on the dev rows for everything tried, by name, and what is kept."""

    task_id: str
    metric: Metric
    tried: Mapping[str, float]
    chosen: str
    refinement: Postprocessing

    def text(self, name: str) -> str:
        """Return the score of one variant as text, bold if it was chosen; empty if it was not tried."""
        if name not in self.tried:
            return ""
        value = self.metric.text(self.tried[name])
        return f"**{value}**" if name == self.chosen else value


def refine(runs: Sequence[Path], source: DataSource) -> Iterator[Choice]:
    """Try on every run's own dev rows what each task allows; write what helps to `refinements.json` of all `runs`.

    The score of several runs, which are to answer together, is their mean: no row can judge the networks of a
    cross-validation together, because each row was learned by all but one. Yields the choices in the order of the
    tasks' names. A second look is tried with the mask's best cleaning, and views with the best of all these.

    Raises UserError if the runs have different tasks or rules, or if `source` does not hold a run's dev rows.
    """
    opened = [_open(run, source) for run in runs]
    first = opened[0]
    for run, other in zip(runs, opened, strict=True):
        if (other.network.tasks, other.rules) != (first.network.tasks, first.rules):
            raise UserError(f"{run} and {runs[0]} have different tasks or rules; choose for each of them alone")
    kept = {}
    for task_id in sorted({sample.task_id for one in opened for sample in one.scorer.part.samples}):
        choice = choose(first.network.tasks[task_id], first.rules[task_id], partial(_mean_score, opened, task_id))
        if choice.refinement != Postprocessing():
            kept[task_id] = asdict(choice.refinement)
        yield choice
    for run in runs:
        write_text(run / FILE, json.dumps(kept, indent=1) + "\n")


@dataclass(frozen=True)
class _Opened:
    """A run's network, what scores it, and the rules of its tasks."""

    network: System
    scorer: DevScorer
    rules: Mapping[str, TaskRules]


def _open(run: Path, source: DataSource) -> _Opened:
    network, state = load_network(run)
    rules = {task_id: rules_of(spec, state.config.tasks) for task_id, spec in network.tasks.items()}
    return _Opened(network, scorer_of(own_rows(replace(source, fold=_fold(run)), state), state), rules)


def _fold(run: Path) -> Fold | None:
    """Return which fold of a finished cross-validation (`train --folds`) a run is; None if it is none."""
    folds = run.resolve().parent / "folds.json"
    number = run.resolve().name.removeprefix("fold-")
    if not (folds.is_file() and number.isdecimal()):
        return None
    try:
        return Fold(int(number), int(json.loads(folds.read_text("utf-8"))["folds"]))
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{folds} is damaged ({error}); run `python -m training train --folds --resume` again"
        ) from error


def read_refinements(run: Path) -> dict[str, Postprocessing]:
    """Return the refinements by task; empty if none were chosen. Raises UserError if the file is damaged."""
    if not (run / FILE).is_file():
        return {}
    try:
        table = json.loads((run / FILE).read_text("utf-8"))
        return {task_id: Postprocessing.from_table(entry) for task_id, entry in table.items()}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"{run / FILE} is damaged ({error}); run `python -m training refine` again") from error


def choose(spec: TaskSpec, rules: TaskRules, score: Callable[[Postprocessing], float]) -> Choice:
    """Try what a task allows; `score` gives the task's main score under a refinement."""
    metric = metrics_of(spec.kind)[0]
    best, chosen = Postprocessing(), PLAIN
    tried = {PLAIN: score(best)}

    def helps(name: str, candidate: Postprocessing, least: float) -> bool:
        tried[name] = score(candidate)
        gain = (tried[name] - tried[chosen]) * (1 if metric.higher_is_better else -1)
        return gain > least * abs(tried[chosen])

    for name, candidate in _TIDY.items() if spec.kind is TaskKind.SEGMENTATION else ():
        if helps(name, candidate, _LEAST_GAIN):
            best, chosen = candidate, name
    for name, look in _LOOKS.items() if spec.kind in (TaskKind.SEGMENTATION, TaskKind.DETECTION) else ():
        candidate = replace(best, second_look=look)
        if helps(name, candidate, _LEAST_GAIN_OF_A_PASS):
            best, chosen = candidate, name
    for name, views in _VIEWS.items():
        if not _allows(spec, rules, name):
            continue
        order = _mirrored_order(spec, rules) if name == FLIP else best.point_order
        candidate = replace(best, views=(*best.views, *views), point_order=order)
        if helps(name, candidate, _LEAST_GAIN_OF_A_PASS * len(views)):
            best, chosen = candidate, name
    return Choice(spec.task_id, metric, tried, chosen, best)


def _allows(spec: TaskSpec, rules: TaskRules, name: str) -> bool:
    """Return whether a task can have these views. A rotation may exchange points that are told apart by position."""
    if name == FLIP:
        return rules.hflip
    if name == ROTATIONS:
        fit = all(VIEWS[view].suits(spec.kind) for view in _ROTATED)
        return fit and rules.max_rotation >= _DEGREES and not rules.pairs
    return True


def _mean_score(opened: Sequence[_Opened], task_id: str, refinement: Postprocessing) -> float:
    """Return the mean of the task's main score over the runs that have dev rows of it."""
    with_rows = [one for one in opened if any(sample.task_id == task_id for sample in one.scorer.part.samples)]
    return statistics.fmean(_score(one, task_id, refinement) for one in with_rows)


def _score(one: _Opened, task_id: str, refinement: Postprocessing) -> float:
    scores = replace(one.scorer, refinements={task_id: refinement}).score(one.network, [task_id])
    return scores.tasks[task_id][metrics_of(one.network.tasks[task_id].kind)[0].name]


def _mirrored_order(spec: TaskSpec, rules: TaskRules) -> tuple[int, ...]:
    """Return which mirrored point is which: those that are told apart by x change places."""
    if spec.kind is not TaskKind.REGRESSION:
        return ()
    order = list(range(spec.num_classes))
    for pair in rules.pairs:
        if pair.axis == 0:
            order[pair.first], order[pair.second] = pair.second, pair.first
    return tuple(order)
