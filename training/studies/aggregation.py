"""Which tasks should share a network? M2DINO's three paradigms (arXiv 2603.18123) under one budget of images.

One network per task, one per clinical group, one for all. Every paradigm trains on the recipe's `optim.images` in
total, and a task gets the same share in each, so that a difference comes from the co-trained tasks. The paper's
answer depends on how many rows there are. So the same is done in several settings, each with a part of the rows: the
budget, the shares and the scored rows stay the same.
"""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from challenge.errors import UserError
from challenge.manifest import read_manifest
from challenge.tasks import TaskKind, check_task_names
from evaluate.scores.metric_table import metrics_of
from model.networks.task_table import TaskProfile, task_table
from training.config import Config, DevConfig
from training.data.rows import DataSource
from training.data.sampling import probabilities
from training.distributed import Ranks
from training.loop.optim import total_steps
from training.loop.runs import is_finished, train_run
from training.run_folder import checkpoint_file
from training.studies.aggregation_report import GROUPED, SPECIFIC, UNIFIED, TaskComparison, draw, report
from training.text_files import write_text

logger = logging.getLogger(__name__)

RESULTS, PICTURE, NUMBERS = "aggregation.md", "aggregation.png", "aggregation.json"

Groups = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class PlannedRun:
    """One network: its tasks, how many of the budget's images it draws, and from which part of the training rows."""

    paradigm: str
    name: str
    tasks: tuple[str, ...]
    images: int
    fraction: float = 1.0

    @property
    def folder(self) -> Path:
        """Where the run goes, seen from the output folder."""
        return Path(f"rows-{100 * self.fraction:g}") / self.paradigm / self.name


def parse_groups(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the groups of `NAME=TASK,TASK` texts. Raises UserError."""
    groups: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, equals, tasks = text.partition("=")
        if not (name and equals and tasks):
            raise UserError(f"--group {text!r} is not NAME=TASK,TASK")
        groups[name] = tuple(task.strip() for task in tasks.split(","))
    named = Counter(task for tasks in groups.values() for task in tasks)
    if twice := [task for task, count in named.items() if count > 1]:
        raise UserError(f"--group: {', '.join(twice)} is in two groups; give each task one group")
    return groups


def aggregate(
    config: Config,
    source: DataSource,
    output: Path,
    ranks: Ranks,
    given: Groups,
    fractions: Sequence[float] = (1.0,),
    *,
    resume: bool = False,
) -> None:
    """Train every network of the plan into `output`, then write the table, the picture and the numbers there.

    `given` groups restrict the tasks to theirs; without any the data's tasks stand in their clinical groups. Every
    one of `fractions` (above 0, at most 1, of each task's training rows) is a setting. With `resume`, finished
    networks are left as they are. Raises UserError for unknown tasks.
    """
    samples = read_manifest(source.data_root).samples
    kinds = {sample.task_id: sample.kind for sample in samples}
    check_task_names([task for tasks in given.values() for task in tasks], kinds)
    wanted = [task for tasks in given.values() for task in tasks] or config.data.tasks or sorted(kinds)
    sizes = Counter(sample.task_id for sample in samples if sample.task_id in wanted)
    _check_scored(sizes, source)
    groups = given or clinical(sizes)
    runs = plan(sizes, groups, config, fractions)
    for number, run in enumerate(runs, 1):
        home = output / run.folder
        recipe = run_config(config, run)
        if resume and is_finished(recipe, source, home, ranks):
            continue
        logger.info("network %d of %d: %s", number, len(runs), run.folder)
        train_run(recipe, source, home, ranks, resume=resume)
    if ranks.is_first:
        comparisons = _comparisons({task: kinds[task] for task in sizes}, groups, runs, output)
        write_text(output / NUMBERS, json.dumps([asdict(comparison) for comparison in comparisons], indent=1) + "\n")
        write_text(output / RESULTS, report(comparisons, config.optim.images))
        draw(comparisons, output / PICTURE)


def _check_scored(tasks: Mapping[str, int], source: DataSource) -> None:
    """Raise UserError for tasks that no row of `source.val_root` scores: they could not be compared."""
    scored = {sample.task_id for sample in read_manifest(source.val_root).samples} if source.val_root else set(tasks)
    if missing := sorted(set(tasks) - scored):
        raise UserError(f"--val-root has no rows of {', '.join(missing)}; add some, or name the other tasks by --group")


def clinical(tasks: Mapping[str, int]) -> dict[str, list[str]]:
    """Return `tasks` in the clinical groups of the task table; tasks of one's own are in `other`."""
    groups: dict[str, list[str]] = {}
    for task in tasks:
        groups.setdefault(task_table().get(task, TaskProfile()).group, []).append(task)
    return groups


def plan(
    sizes: Mapping[str, int], groups: Groups, config: Config, fractions: Sequence[float] = (1.0,)
) -> list[PlannedRun]:
    """Return the networks to train. A group of one task has none of its own: it would repeat the task's."""
    tasks = tuple(sizes)
    chances = dict(zip(tasks, probabilities(sizes, config.sampling), strict=True))
    paradigms: dict[str, dict[str, tuple[str, ...]]] = {
        SPECIFIC: {task: (task,) for task in tasks},
        GROUPED: {name: tuple(members) for name, members in groups.items() if len(members) > 1},
        UNIFIED: {"all": tasks},
    }
    images = {
        members: max(1, round(config.optim.images * sum(chances[task] for task in members)))
        for networks in paradigms.values()
        for members in networks.values()
    }
    return [
        PlannedRun(paradigm, name, members, images[members], fraction)
        for fraction in sorted(set(fractions), reverse=True)
        for paradigm, networks in paradigms.items()
        for name, members in networks.items()
    ]


def run_config(config: Config, run: PlannedRun) -> Config:
    """Return the recipe of one network.

    An image teaches the drawn task alone (`sampling.joint` off), and the last network is scored, not the best of
    several: both would give the paradigms different chances.
    """
    sampling = replace(config.sampling, joint=False, tasks_per_step=min(config.sampling.tasks_per_step, len(run.tasks)))
    optim = replace(config.optim, images=run.images)
    optim = replace(optim, warmup_steps=min(optim.warmup_steps, total_steps(optim, sampling) // 10))
    return replace(
        config,
        name=f"{config.name}-{run.name}",
        data=replace(config.data, tasks=run.tasks, train_fraction=run.fraction * config.data.train_fraction),
        sampling=sampling,
        optim=optim,
        dev=DevConfig(),
    )


def _comparisons(
    kinds: Mapping[str, TaskKind], groups: Groups, runs: Sequence[PlannedRun], output: Path
) -> list[TaskComparison]:
    """Return every task in every setting: the setting with most rows first, and in each the tasks in one order."""
    scores: dict[tuple[float, str], dict[str, float]] = defaultdict(dict)
    rows: dict[tuple[float, str], int] = {}
    for run in runs:
        facts = checkpoint_file.load_best(output / run.folder).facts
        for task in run.tasks:
            headline = metrics_of(kinds[task])[0].name
            scores[run.fraction, task][run.paradigm] = float(facts.dev[task][headline])
            rows.setdefault((run.fraction, task), facts.rows[task])
    most = max(run.fraction for run in runs)
    comparisons = []
    for (fraction, task), own in scores.items():
        group = next(name for name, members in groups.items() if task in members)
        in_all = {GROUPED: own[SPECIFIC], **own}  # a group of one is the task's own network
        comparisons.append(TaskComparison(task, str(kinds[task]), group, rows[fraction, task], in_all, fraction))
    return sorted(comparisons, key=lambda one: (-one.fraction, rows[most, one.task_id]))
