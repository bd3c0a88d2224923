"""A finished run folder -> a weights folder: graphs, facts, model card, licence, and the tensors to train on from."""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from challenge.class_names import ClassNames
from challenge.errors import UserError, WeightsError
from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from model.frozen.metadata import FILE, WeightsMetadata, read_metadata
from model.frozen.postprocess import Postprocess
from model.networks.system import System
from training.config import to_dict
from training.export.graphs import ExportFacts, export
from training.export.model_card import write_model_card
from training.export.parity import check_parity
from training.run_folder import trainable
from training.run_folder.checkpoint_state import RunState
from training.run_folder.provenance import LICENCE_FILE, Provenance, read_licence, read_sources
from training.run_folder.trainable import load_network, read_start, write_trainable
from training.selection.calibration import read_temperatures, temper
from training.selection.refinement import read_refinements

logger = logging.getLogger(__name__)


def export_run(
    run: Path,
    output: Path,
    scores_file: Path | None,
    sources_file: Path | None,
    reduced: Sequence[str] = (),
    *,
    default_postprocess: Postprocess = Postprocess.NONE,
    overwrite: bool = False,
) -> WeightsMetadata:
    """Export the run's network (its EMA where there is one).

    `scores_file` is the JSON of `evaluate score`; it goes into `weights.json` and the card. `sources_file` (TOML)
    names data, licences and classes by task, in addition to those that the run began with. `reduced` names precisions
    below float32 in which the scores were measured, `default_postprocess` what `inference.py` does unless told
    otherwise. The files are moved to `output` after all of them were written and checked. Raises UserError for
    unreadable files, or if `output` holds anything but this network and `overwrite` is not set.
    """
    network, state = load_network(run)
    same = _holds_nothing_else(network, output, overwrite)
    temperatures = read_temperatures(run)
    temper(network, temperatures)
    provenance = state.facts.provenance
    provenance = Provenance(
        {**provenance.sources, **read_sources(sources_file)}, (same and read_licence(output)) or provenance.licence
    )
    state = replace(state, facts=replace(state.facts, provenance=provenance))
    ClassNames(_class_names(state)).check(network.tasks.values())
    scores = _read_scores(scores_file)
    facts = replace(_export_facts(run, state, scores, reduced, temperatures), default_postprocess=default_postprocess)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=output) as name:
        folder = Path(name)
        written = export(network, facts, folder)
        logger.info("largest difference between graphs and network: %.1e", check_parity(network, written, folder))
        write_trainable(network, state.config, folder, state.facts, state.counters)
        if provenance.licence:
            (folder / LICENCE_FILE).write_text(provenance.licence, "utf-8")
        elif (output / LICENCE_FILE).is_file():
            logger.warning("%s belongs to the earlier weights; check whether it still holds", output / LICENCE_FILE)
        write_model_card(written, scores, folder)
        _clear(output)
        _move(folder, output)
    return written


def summary(written: WeightsMetadata) -> str:
    """Return in words how many graphs and tasks were written."""
    priors = len(written.prior_tasks)
    trained = len(written.tasks) - priors
    return f"{len(written.graphs)} graphs for {len(written.tasks)} tasks ({trained} trained, {priors} prior)"


def _holds_nothing_else(network: System, output: Path, overwrite: bool) -> bool:
    """Return whether `output` holds this very network. Raises UserError if it holds others, unless `overwrite`."""
    there = sorted(path.name for path in output.iterdir()) if output.is_dir() else []
    if not there:
        return False
    same = (output / trainable.FILE).is_file() and _same_tensors(network, output)
    if not same and not overwrite:
        what = "another network" if FILE in there else f"other files ({there[0]})"
        raise UserError(f"{output} holds {what}; choose another folder, or add --overwrite")
    return same


def _same_tensors(network: System, output: Path) -> bool:
    try:
        state, own = read_start(output)[0].state, network.state_dict()
    except UserError:
        return False
    return state.keys() == own.keys() and all(torch.equal(state[key], value) for key, value in own.items())


def _clear(output: Path) -> None:
    """Remove the graphs of the weights in `output`: the new ones may have others."""
    try:
        graphs = read_metadata(output).graphs.values()
    except WeightsError:
        return
    for graph in graphs:
        path = output / graph.file
        if path.resolve().is_relative_to(output.resolve()):
            path.unlink(missing_ok=True)


def _move(folder: Path, output: Path) -> None:
    """Move every file into place, `weights.json` last: until then a reader sees that its hashes do not fit."""
    for path in sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == FILE):
        target = output / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def _export_facts(
    run: Path,
    state: RunState,
    scores: Mapping[str, Any],
    reduced: Sequence[str],
    temperatures: Mapping[str, float],
) -> ExportFacts:
    config, found = state.config, state.facts
    sources = {task_id: source for task_id, source in found.provenance.sources.items() if task_id in found.rows}
    words = {task_id: f"{source.source}; " for task_id, source in sources.items() if source.source}
    return ExportFacts(
        name=config.name,
        system=config.system.name,
        mean=config.data.mean,
        std=config.data.std,
        image_size=config.data.image_size,
        resampling=Resampling(config.data.resampling),
        fit=Fit(config.data.fit),
        trained_on={task_id: f"{words.get(task_id, '')}{rows} images" for task_id, rows in found.rows.items()},
        class_names=_class_names(state),
        fallback={task_id: tuple(values) for task_id, values in found.means.items()},
        scores={task_id: _official(task) for task_id, task in scores.get("tasks", {}).items()},
        precisions=("float32", *reduced),
        refinements=read_refinements(run),
        extra={
            "recipe": to_dict(config),
            "training": {
                "images_before": found.images_before,
                "images_seen": state.counters.images_seen,
                "steps": state.counters.steps,
                "cpu_seconds": state.counters.cpu_seconds,
                "digests": asdict(found.digests),
            },
            "temperatures": temperatures,
            "licences": {task_id: source.licence for task_id, source in sources.items() if source.licence},
            "intended_use": "research; not a medical device",
        },
    )


def _class_names(state: RunState) -> dict[str, tuple[str, ...]]:
    """Return the names of the classes of the tasks that the network was trained on."""
    found = state.facts
    sources = found.provenance.sources.items()
    return {task_id: source.classes for task_id, source in sources if source.classes and task_id in found.rows}


def _official(task: Mapping[str, Any]) -> dict[str, float]:
    values = {name: columns.get("official", {}).get("value") for name, columns in task["metrics"].items()}
    return {name: round(value, 6) for name, value in values.items() if value is not None}


def _read_scores(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        table = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; write it with `evaluate score --json`") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a score file ({error}); write it with `evaluate score --json`") from error
    return table if isinstance(table, dict) else {}
