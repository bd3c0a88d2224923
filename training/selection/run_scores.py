"""The official scores of a finished run, on its own dev rows or on another folder's rows."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.networks.system import System
from training.config import Config
from training.data.rows import DataSource, Part, load_parts
from training.distributed import Ranks
from training.loop.trainer import load_network
from training.run_folder.digests import check_judged
from training.run_folder.run_report import score_table
from training.selection.dev_scores import DevScorer

logger = logging.getLogger(__name__)


def open_run(
    run: Path, source: DataSource, overrides: tuple[str, ...] = ()
) -> tuple[System, Config, DevScorer, Mapping[str, Any]]:
    """Return a run's network, its recipe, the scorer of the dev rows of `source`, and the run's facts.

    `overrides` (`section.key=value`) read the trained tensors into another network, such as one that decodes otherwise.
    Raises UserError if the rows are not those that the run was judged by; those of a `val_root` may be others.
    """
    network, config, facts = load_network(run, overrides)
    if source.val_root:
        dev = load_parts(source, config, Ranks())[1]
        if not check_judged(facts, dev, on_purpose=True):
            logger.warning(
                "scored on the %d rows of %s, which need not be the run's dev rows", len(dev.samples), dev.root
            )
    else:
        dev = own_rows(source, config, facts)
    return network, config, scorer_of(dev, config, facts), facts


def own_rows(source: DataSource, config: Config, facts: Mapping[str, Any]) -> Part:
    """Return a run's own dev rows: those of `source.val_root` if the run was judged by them, else of `data_root`.

    Raises UserError if `source` does not hold them.
    """
    if source.val_root:
        _, dev = load_parts(source, config, Ranks())
        if check_judged(facts, dev, on_purpose=True):
            return dev
    _, dev = load_parts(replace(source, val_root=None), config, Ranks())
    check_judged(facts, dev)
    return dev


def scorer_of(dev: Part, config: Config, facts: Mapping[str, Any]) -> DevScorer:
    """Return what scores a run's network on the rows of `dev`."""
    return DevScorer(dev, config.data, {t: tuple(mean) for t, mean in facts["means"].items()})


def score_run(run: Path, source: DataSource, overrides: tuple[str, ...] = ()) -> str:
    """Return the table of official scores (Markdown)."""
    network, _, scorer, facts = open_run(run, source, overrides)
    scores = scorer.score(network)
    best = {"step": facts["steps"], "selection": scores.selection, "dev": scores.tasks}
    rows = f"the {len(scorer.part.samples)} rows of {scorer.part.root}" if source.val_root else "the dev rows"
    return score_table(best, network.tasks, facts["rows"], rows)
