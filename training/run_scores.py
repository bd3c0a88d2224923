"""The official scores of a finished run, on its own dev rows or on another folder's rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.networks.system import System
from training.config import Config
from training.dev_scores import DevScorer
from training.distributed import Ranks
from training.loop import load_network
from training.rows import DataSource, load_parts
from training.run_report import score_table


def open_run(
    run: Path, source: DataSource, overrides: tuple[str, ...] = ()
) -> tuple[System, Config, DevScorer, Mapping[str, Any]]:
    """Return a run's network, its recipe, the scorer of the dev rows of `source`, and the run's facts.

    `overrides` (`section.key=value`) read the trained tensors into another network, such as one that decodes otherwise.
    """
    network, config, facts = load_network(run, overrides)
    _, dev = load_parts(source, config, Ranks())
    scorer = DevScorer(dev, config.data, {t: tuple(mean) for t, mean in facts["means"].items()})
    return network, config, scorer, facts


def score_run(run: Path, source: DataSource, overrides: tuple[str, ...] = ()) -> str:
    """Return the table of official scores (Markdown)."""
    network, _, scorer, facts = open_run(run, source, overrides)
    scores = scorer.score(network)
    best = {"step": facts["steps"], "selection": scores.selection, "dev": scores.tasks}
    return score_table(best, network.tasks, facts["rows"])
