"""Choosing what the answers of a trained run gain by (`model.frozen.postprocess`), task by task, on its dev rows."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec
from evaluate.scores.metric_table import Metric, metrics_of
from model.frozen.postprocess import Postprocessing, SecondLook
from model.networks.system import System
from training.augmentation.task_rules import TaskRules, rules_of
from training.data.rows import DataSource
from training.run_folder.trainable import load_network
from training.selection.dev_scores import DevScorer
from training.selection.run_scores import own_rows, scorer_of
from training.text_files import write_text

FILE = "refinements.json"
# The least gain on the dev rows, as a part of the score: less may be chance, and a second pass doubles the time.
_LEAST_GAIN, _LEAST_GAIN_OF_A_PASS = 0.001, 0.003
PLAIN, FLIP = "none", "flip"
_TIDY = {
    "largest component": Postprocessing(largest_component=True),
    "holes filled": Postprocessing(fill_holes=True),
    "both": Postprocessing(largest_component=True, fill_holes=True),
}
# The one that takes less time comes first: the other must be better by the least gain.
_LOOKS = {"look if under 10 %": SecondLook(largest_area=0.1), "look": SecondLook()}
VARIANTS = (PLAIN, *_TIDY, *_LOOKS, FLIP)


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


def refine(run: Path, source: DataSource) -> Iterator[Choice]:
    """Try on the run's own dev rows what every task allows; write what helps to `run/refinements.json`.

    Yields the choices in the order of the tasks' names. A second look is tried with the mask's best cleaning, and flip
    TTA with the best of all these.
    """
    network, state = load_network(run)
    scorer = scorer_of(own_rows(source, state), state)
    kept = {}
    for task_id in sorted({sample.task_id for sample in scorer.part.samples}):
        spec = network.tasks[task_id]
        choice = choose(spec, rules_of(spec, state.config.tasks), partial(_score, network, scorer, spec))
        if choice.refinement != Postprocessing():
            kept[task_id] = asdict(choice.refinement)
        yield choice
    write_text(run / FILE, json.dumps(kept, indent=1) + "\n")


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
    if rules.hflip:
        mirrored = replace(best, flip=True, point_order=_mirrored_order(spec, rules))
        if helps(FLIP, mirrored, _LEAST_GAIN_OF_A_PASS):
            best, chosen = mirrored, FLIP
    return Choice(spec.task_id, metric, tried, chosen, best)


def _score(network: System, scorer: DevScorer, spec: TaskSpec, refinement: Postprocessing) -> float:
    refined = replace(scorer, refinements={spec.task_id: refinement})
    return refined.score(network, [spec.task_id]).tasks[spec.task_id][metrics_of(spec.kind)[0].name]


def _mirrored_order(spec: TaskSpec, rules: TaskRules) -> tuple[int, ...]:
    """Return which mirrored point is which: those that are told apart by x change places."""
    if spec.kind is not TaskKind.REGRESSION:
        return ()
    order = list(range(spec.num_classes))
    for pair in rules.pairs:
        if pair.axis == 0:
            order[pair.first], order[pair.second] = pair.second, pair.first
    return tuple(order)
