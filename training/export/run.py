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
from challenge.errors import UserError
from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from model.frozen.metadata import FILE, WeightsMetadata
from model.frozen.outputs.postprocess import Postprocess
from model.networks.system import System
from training.config import to_dict
from training.export.graphs import ExportFacts, export
from training.export.model_card import write_model_card
from training.export.parity import check_parity
from training.export.place import clear, move
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
    scores = read_scores(scores_file)
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
        clear(output)
        move(folder, output)
    return written


def summary(written: WeightsMetadata, folder: Path) -> str:
    """Return in words how many networks, graphs and tasks were written to `folder`, and their size."""
    priors = len(written.prior_tasks)
    tasks = f"{len(written.tasks)} tasks ({len(written.tasks) - priors} trained, {priors} prior)"
    size = sum((folder / graph.file).stat().st_size for graph in written.graphs.values()) / 1e6
    networks = f"{len(written.members)} networks, " if written.members else ""
    return f"{networks}{len(written.graphs)} graphs for {tasks}, {size:.1f} MB"


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
        scores={task_id: official(task) for task_id, task in scores.get("tasks", {}).items()},
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


def official(task: Mapping[str, Any]) -> dict[str, float]:
    """Return a task's official scores by name, of its entry in an `evaluate score --json` file."""
    values = {name: columns.get("official", {}).get("value") for name, columns in task["metrics"].items()}
    return {name: round(value, 6) for name, value in values.items() if value is not None}


def read_scores(path: Path | None) -> dict[str, Any]:
    """Return the content of an `evaluate score --json` file; empty if there is no `path`. Raises UserError."""
    if path is None:
        return {}
    try:
        table = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"there is no file {path}; write it with `evaluate score --json`") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is not a score file ({error}); write it with `evaluate score --json`") from error
    return table if isinstance(table, dict) else {}
