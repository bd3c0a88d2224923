"""Several finished runs -> one weights folder of several networks, which answer as one."""

import hashlib
import logging
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from challenge.errors import UserError
from challenge.tasks import TaskKind, nearest
from model.frozen.metadata import (
    FILE,
    Member,
    TaskMetadata,
    WeightsMetadata,
    ensemble_of,
    in_folder,
    write_metadata,
)
from model.frozen.outputs.postprocess import Postprocess
from model.frozen.router import Router
from model.frozen.runtimes.onnx import OnnxRuntime
from training.export.model_card import write_model_card
from training.export.place import clear, move
from training.export.run import export_run, official, read_scores
from training.run_folder.checkpoint_file import load_best
from training.run_folder.provenance import LICENCE_FILE, read_licence
from training.run_folder.trainable import leave_to_others, load_network

logger = logging.getLogger(__name__)

_COUNTERS = ("images_before", "images_seen", "steps", "cpu_seconds")


def export_runs(
    runs: Sequence[Path],
    output: Path,
    scores_file: Path | None,
    sources_file: Path | None,
    reduced: Sequence[str] = (),
    *,
    default_postprocess: Postprocess = Postprocess.NONE,
    overwrite: bool = False,
    answered_by: Mapping[str, Path] | None = None,
) -> WeightsMetadata:
    """Export one run by `export_run`, or several runs into `output/member-N`, with what joins them in `output`.

    A run whose recipe chose tasks (`data.tasks`) answers those alone. `answered_by` names the one run that answers
    a task or a kind, whatever the recipes chose; a task goes before its kind. The other arguments are those of
    `export_run`; `scores_file` holds the scores of the joined answers. The files are moved to `output` after all of
    them were written and checked. Raises UserError for unreadable files, if the networks cannot answer together, if
    a run is named twice, `answered_by` names a run that is not among `runs` or was not trained on the task, a run
    answers no task, or `output` holds anything and `overwrite` is not set.
    """
    answered_by = {name: run.resolve() for name, run in (answered_by or {}).items()}
    if answered_by and len(runs) == 1:
        raise UserError(
            "--answered-by chooses between several runs, but one is exported; name the others, or leave it out"
        )
    if twice := next((run for run in runs if [one.resolve() for one in runs].count(run.resolve()) > 1), None):
        raise UserError(f"{twice} is named twice, which would count its answers twice; name each run once")
    for name, run in answered_by.items():
        if run not in [one.resolve() for one in runs]:
            raise UserError(f"{name} cannot be answered by {run}, which is not among the exported runs")
    export = partial(export_run, sources_file=sources_file, reduced=reduced, default_postprocess=default_postprocess)
    if len(runs) == 1:
        return export(runs[0], output, scores_file, overwrite=overwrite)
    if output.is_dir() and any(output.iterdir()) and not overwrite:
        raise UserError(f"{output} is not empty; choose another folder, or add --overwrite")
    scores = read_scores(scores_file)
    parts = [_part(run, answered_by) for run in runs]  # exporting takes minutes, so what cannot be is said before
    learned = {task_id for part in parts for task_id in part.learned}
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output) as name:
        folder, exported = Path(name), {}
        for number, (run, part) in enumerate(zip(runs, parts, strict=True), 1):
            own = f"member-{number}"
            logger.info("%s becomes %s", run, own)
            exported[own] = _without(part.left, export(run, folder / own, None), folder / own, run)
        specs = {task_id: spec for one in exported.values() for task_id, spec in one.specs.items()}
        members = [_member(own, one.with_priors(specs.values()), folder) for own, one in exported.items()]
        metadata = joined(members, runs, scores)
        if lost := learned.intersection(metadata.prior_tasks):
            logger.warning("no run chose %s in data.tasks, though it was learned; the prior answers", sorted(lost))
        _check_shapes(metadata, runs, folder)
        write_metadata(metadata, folder)
        licences = {read_licence(folder / member.folder) for member in members}
        if len(licences) == 1 and (text := licences.pop()):
            (folder / LICENCE_FILE).write_text(text, "utf-8")
        write_model_card(metadata, scores, folder)
        clear(output)
        move(folder, output)
    return metadata


def joined(members: Sequence[Member], names: Sequence[object], scores: Mapping[str, Any]) -> WeightsMetadata:
    """Return the metadata of weights of several networks. Raises UserError, with their `names`, if they do not fit.

    `scores` is the content of an `evaluate score --json` file, or empty.
    """
    several = [member.metadata for member in members]
    first = several[0]
    for name, other in zip(names, several, strict=True):
        if what := first.difference(other):
            raise UserError(f"{name} has {what} than {names[0]}; export runs that agree, or each into its own folder")
    scored = {task_id: official(task) for task_id, task in scores.get("tasks", {}).items()}
    tasks = {
        task_id: replace(_joined_task([one.tasks[task_id] for one in several]), scores=scored.get(task_id, {}))
        for task_id in first.tasks
    }
    shared = replace(
        first,
        name=_words(one.name for one in several),
        system=_words(one.system for one in several),
        tasks=tasks,
        precisions=tuple(name for name in first.precisions if all(name in one.precisions for one in several)),
        extra=_joined_extra([one.extra for one in several]),
    )
    return ensemble_of(shared, members, Path(FILE))


@dataclass(frozen=True)
class _Part:
    """The tasks that a run learned, and those of its tasks that it leaves to other runs."""

    learned: frozenset[str]
    left: frozenset[str]


def _part(run: Path, answered_by: Mapping[str, Path]) -> _Part:
    """Return a run's part of the answers: others were named for a task, or its recipe chose other tasks.

    A second phase per kind moves the encoder away from the heads of the other kinds, which it keeps. Raises UserError
    if the run is named for a task or kind on which it was not trained, or if nothing is left for it.
    """
    state = load_best(run)
    kinds = {spec.task_id: spec.kind.lower() for spec in state.tasks}
    learned = frozenset(task_id for task_id in kinds if state.facts.rows.get(task_id))
    known = {*learned, *(kinds[task_id] for task_id in learned)}
    for name, chosen_run in answered_by.items():
        if chosen_run == run.resolve() and name not in known:
            hint = "" if name in {*kinds, *(kind.lower() for kind in TaskKind)} else nearest(name, known)
            raise UserError(f"{run} was not trained on {name!r}{hint}, so it cannot answer it")
    chosen = state.config.data.tasks
    left = set()
    for task_id, kind in kinds.items():
        named = answered_by.get(task_id) or answered_by.get(kind)
        if (named != run.resolve()) if named else (chosen and task_id not in chosen and kind not in chosen):
            left.add(task_id)
    if learned <= left:
        raise UserError(f"{run} answers no task, because others answer all that it learned; leave it out")
    return _Part(learned, frozenset(left))


def _without(left: Collection[str], written: WeightsMetadata, folder: Path, run: Path) -> WeightsMetadata:
    """Return what a member says if others answer the tasks in `left`, and delete what only those need."""
    if not left:
        return written
    tasks = {
        task_id: TaskMetadata(task.spec, (), "prior") if task_id in left else task
        for task_id, task in written.tasks.items()
    }
    used = {name for task in tasks.values() for name in task.path}
    for name, graph in written.graphs.items():
        if name not in used:
            (folder / graph.file).unlink()
    network, _ = load_network(run)
    leave_to_others(left, network, folder)
    return replace(written, tasks=tasks, graphs={name: graph for name, graph in written.graphs.items() if name in used})


def _member(own: str, metadata: WeightsMetadata, folder: Path) -> Member:
    """Write the `weights.json` and the card of a member, which tell what it answers itself."""
    write_metadata(metadata, folder / own)
    write_model_card(metadata, {}, folder / own, own)
    return Member(own, hashlib.sha256((folder / own / FILE).read_bytes()).hexdigest(), in_folder(metadata, own))


def _joined_task(several: Sequence[TaskMetadata]) -> TaskMetadata:
    """Return what an ensemble says of a task: the networks that were trained on it answer it."""
    task_id, trained = several[0].spec.task_id, [task for task in several if task.answers == "network"]
    if not trained:
        return replace(several[0], path=(), index=None)
    first = trained[0]
    if any(task.postprocessing != first.postprocessing for task in trained):
        raise UserError(
            f"{task_id}: the runs record different post-processing; run 'python -m training refine' on all of them"
        )
    names = list(dict.fromkeys(task.class_names for task in trained if task.class_names))
    if len(names) > 1:
        raise UserError(f"{task_id}: the runs call the classes {names[0]} and {names[1]}; name them with --sources")
    if len(trained) < len(several):
        logger.info("%s: %d of %d networks answer", task_id, len(trained), len(several))
    means = [task.fallback for task in trained if task.fallback]
    return replace(
        first,
        path=(),
        index=None,
        trained_on=_words(task.trained_on or "" for task in trained),
        class_names=names[0] if names else (),
        fallback=tuple(float(value) for value in np.mean(means, axis=0)) if means else None,
    )


def _joined_extra(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what is for people: sums of the runs' counters, all licences, and the recipe if it is the same."""
    recipe = several[0].get("recipe")
    counters = [extra.get("training", {}) for extra in several]
    licences = [extra.get("licences", {}) for extra in several]
    return {
        **({"recipe": recipe} if recipe and all(extra.get("recipe") == recipe for extra in several) else {}),
        "training": {key: sum(one.get(key) or 0 for one in counters) for key in _COUNTERS},
        "licences": {
            task_id: _words(one[task_id] for one in licences if task_id in one)
            for task_id in dict.fromkeys(task_id for one in licences for task_id in one)
        },
        "intended_use": "research; not a medical device",
    }


def _words(texts: Iterable[str]) -> str:
    return " / ".join(dict.fromkeys(filter(None, texts)))


def _check_shapes(metadata: WeightsMetadata, runs: Sequence[Path], folder: Path) -> None:
    """Raise UserError if two members give maps of different sizes for a task, which cannot be joined."""
    runtime = OnnxRuntime(folder, metadata.graphs)
    image = np.zeros((1, metadata.image_size, metadata.image_size, 3), np.uint8)
    shapes: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for run, member in zip(runs, metadata.members, strict=True):
        tasks = [task_id for task_id, task in member.metadata.tasks.items() if task.answers == "network"]
        for task_id, _, outputs in Router(member.metadata, runtime).run(image, [tasks]):
            other, shape = shapes.setdefault(task_id, (run, outputs.shape))
            if shape != outputs.shape:
                raise UserError(
                    f"{task_id}: {run} answers in {outputs.shape[1:]}, {other} in {shape[1:]}; "
                    "export runs whose decoders have the same stride"
                )
