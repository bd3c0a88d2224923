"""The official scores of a finished run, on its own dev rows or on another folder's rows."""

import logging
from dataclasses import replace
from pathlib import Path

from model.networks.system import System
from training.data.rows import DataSource, Part, load_parts
from training.distributed import Ranks
from training.run_folder.checkpoint_state import RunState
from training.run_folder.digests import check_own, is_own
from training.run_folder.run_report import score_table
from training.run_folder.trainable import load_network
from training.selection.dev_scores import DevScorer

logger = logging.getLogger(__name__)


def open_run(run: Path, source: DataSource, overrides: tuple[str, ...] = ()) -> tuple[System, RunState, DevScorer]:
    """Return a run's network, its state, and the scorer of the dev rows of `source`.

    `overrides` (`section.key=value`) read the trained tensors into another network, such as one that decodes otherwise.
    The rows of a `val_root` may be others than the run's own; a warning says so. Raises UserError if `data_root` does
    not hold the run's own.
    """
    network, state = load_network(run, overrides)
    dev = _dev_rows(source, state) if source.val_root else own_rows(source, state)
    if not is_own(state.facts.digests, dev):
        logger.warning("scored on the %d rows of %s, which need not be the run's dev rows", len(dev.samples), dev.root)
    return network, state, scorer_of(dev, state)


def own_rows(source: DataSource, state: RunState) -> Part:
    """Return a run's own dev rows: those of `source.val_root` if the run was judged by them, else of `data_root`.

    Raises UserError if `source` does not hold them.
    """
    dev = _dev_rows(source, state)
    if source.val_root and not is_own(state.facts.digests, dev):
        dev = _dev_rows(replace(source, val_root=None), state)
    check_own(state.facts.digests, dev)
    return dev


def other_rows(source: DataSource, state: RunState) -> Part | None:
    """Return the rows of `source.val_root`, or None if they are the run's own dev rows."""
    dev = _dev_rows(source, state)
    return None if is_own(state.facts.digests, dev) else dev


def scorer_of(dev: Part, state: RunState) -> DevScorer:
    """Return what scores a run's network on the rows of `dev`."""
    return DevScorer(dev, state.config.data, {t: tuple(mean) for t, mean in state.facts.means.items()})


def score_run(run: Path, source: DataSource, overrides: tuple[str, ...] = ()) -> str:
    """Return the table of official scores (Markdown)."""
    network, state, scorer = open_run(run, source, overrides)
    scores = scorer.score(network)
    best = {"step": state.counters.steps, "selection": scores.selection, "dev": scores.tasks}
    rows = f"the {len(scorer.part.samples)} rows of {scorer.part.root}" if source.val_root else "the dev rows"
    return score_table(best, network.tasks, state.facts.rows, rows)


def _dev_rows(source: DataSource, state: RunState) -> Part:
    return load_parts(source, state.config.data, state.config.runtime, Ranks())[1]
