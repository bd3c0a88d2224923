"""A finished run folder -> a weights folder: graphs, facts, model card, and the tensors to train on from."""

import json
import logging
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from challenge.errors import UserError
from challenge.geometry import Fit
from challenge.resampling import Resampling
from model.frozen.facts import Facts
from training import checkpoint
from training.calibration import read_temperatures, temper
from training.export import ExportFacts, export
from training.loop import load_network
from training.model_card import write_model_card
from training.parity import check_parity
from training.refinement import read_refinements
from training.trainable import write_trainable

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """Where a task's training data comes from."""

    source: str
    licence: str


def export_run(
    run: Path,
    output: Path,
    scores_file: Path | None,
    sources_file: Path | None,
    reduced: Sequence[str] = (),
) -> Facts:
    """Export the run's network (its EMA where there is one). Raises UserError for unreadable files.

    `scores_file` is the JSON of `evaluate score`; it goes into the facts and the card. `sources_file` names data and
    licences by task (TOML). `reduced` names precisions below float32 that were measured to do the scores no harm.
    """
    network, config, found = load_network(run)
    temperatures = read_temperatures(run)
    temper(network, temperatures)
    sources = _read_sources(sources_file)
    scores = _read_scores(scores_file)
    trained_on = {
        task_id: f"{sources[task_id].source}; {rows} images" if task_id in sources else f"{rows} images"
        for task_id, rows in found["rows"].items()
    }
    licences = {task_id: sources[task_id].licence for task_id in found["rows"] if task_id in sources}
    facts = ExportFacts(
        name=config.name,
        system=config.system.name,
        mean=config.data.mean,
        std=config.data.std,
        image_size=config.data.image_size,
        resampling=Resampling(config.data.resampling),
        fit=Fit(config.data.fit),
        trained_on=trained_on,
        fallback={task_id: tuple(values) for task_id, values in found["means"].items()},
        scores={task_id: _official(task) for task_id, task in scores.get("tasks", {}).items()},
        precisions=("float32", *reduced),
        refinements=read_refinements(run),
        extra={
            "recipe": checkpoint.load_best(run)["config"],
            "training": {key: found.get(key) for key in ("images_before", "images_seen", "steps", "cpu_seconds")},
            "temperatures": temperatures,
            "licences": licences,
            "intended_use": "research; not a medical device",
        },
    )
    written = export(network, facts, output)
    logger.info("largest difference between graphs and network: %.1e", check_parity(network, written, output))
    write_trainable(network, config, found, output)
    write_model_card(written, scores, output)
    return written


def _official(task: Mapping[str, Any]) -> dict[str, float]:
    values = {name: columns.get("official", {}).get("value") for name, columns in task["metrics"].items()}
    return {name: round(value, 6) for name, value in values.items() if value is not None}


def _read_scores(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        table = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no score file ({error}); write it with `evaluate score --json`") from error
    return table if isinstance(table, dict) else {}


def _read_sources(path: Path | None) -> dict[str, Source]:
    if path is None:
        return {}
    try:
        return {task_id: Source(**entry) for task_id, entry in tomllib.loads(path.read_text("utf-8")).items()}
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} is no table of sources ({error}); each task needs source and licence") from error
