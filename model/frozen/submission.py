"""One whole run: manifest in, the challenge's output folder out, a report of what happened."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from challenge.errors import UserError
from challenge.manifest import Sample, read_manifest, superseded
from challenge.predictions import BlankMask, MaskPrediction, Prediction
from challenge.progress import progress
from challenge.report import RunReport
from challenge.tasks import check_task_names, with_extra_tasks
from challenge.writers import write_json, write_mask
from model.frozen.facts import read_facts, verify
from model.frozen.pipeline import Answer, Pipeline
from model.frozen.router import Router
from model.frozen.runtimes.onnx import OnnxRuntime

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """How to run. `tasks` empty means all; see `inference.py --help` for the rest."""

    weights: Path
    batch_size: int = 8
    device: str = "auto"
    precision: str = "auto"
    mask_resize: str = "logits"
    tasks: tuple[str, ...] = ()


def run_submission(data_root: Path, output_dir: Path, options: Options, report: RunReport) -> None:
    """Answer every row of the manifests below `data_root` into `output_dir`; fill `report` on the way.

    Raises UserError before any work if the manifests or the weights cannot be used, OSError if `output_dir` cannot be
    written.
    """
    facts = read_facts(options.weights)
    report.weights = {"name": facts.name, "sha256": verify(facts, options.weights)}
    report.prior_tasks = facts.prior_tasks
    known = with_extra_tasks(facts.specs.values())
    check_task_names(options.tasks, known)
    manifest = read_manifest(data_root, known)
    samples = [s for s in manifest.samples if not options.tasks or s.task_id in options.tasks]
    report.rows, report.duplicates = len(samples), len(manifest.repeated)
    _check_precision(options.precision)
    runtime = OnnxRuntime(options.weights, facts.graphs, options.device)
    report.device = {"requested": options.device, "used": runtime.device, "providers": list(runtime.providers)}
    report.precision = runtime.precision
    logger.info("weights %s on %s in %s", facts.name, runtime.device, runtime.precision)
    _announce_priors(samples, facts.prior_tasks)
    _prepare(output_dir)
    collector = _Collector(output_dir, report)
    pipeline = Pipeline(Router(facts, runtime), data_root, options.batch_size, options.mask_resize)
    report.start_up_s = report.seconds()
    todo = collector.drop_superseded(samples)
    for _ in progress(pipeline.run(todo, collector.add), len(todo), "rows"):
        pass
    write_json(output_dir, [(s, collector.answers[s.row]) for s in samples if s.row in collector.answers])
    if report.answered != report.rows:
        raise RuntimeError(f"{report.rows} rows but {report.answered} answers; please report this as a bug")


class _Collector:
    """Writes masks at once, keeps the small answers for the JSON files, counts. Called from worker threads."""

    def __init__(self, output_dir: Path, report: RunReport) -> None:
        self.answers: dict[object, Prediction] = {}
        self._output_dir = output_dir
        self._report = report
        self._lock = threading.Lock()

    def add(self, answer: Answer) -> None:
        sample, prediction = answer.sample, answer.prediction
        if isinstance(prediction, MaskPrediction | BlankMask):
            write_mask(self._output_dir, sample, prediction)
        with self._lock:
            if not isinstance(prediction, MaskPrediction | BlankMask):
                self.answers[sample.row] = prediction
            self._count(sample)
            if answer.note:
                logger.warning("%s: %s: %s", sample.row, sample.image_path, answer.note)
                self._report.add_note(sample, answer.note)
            if answer.reason:
                logger.warning("%s: fallback for %s: %s", sample.row, sample.task_id, answer.reason)
                self._report.add_fallback(sample, answer.reason)

    def drop_superseded(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the rows to answer: all but those whose mask a later row overwrites, which count as fallbacks."""
        lost = superseded(samples)
        for sample in lost:
            self._count(sample)
            self._report.add_fallback(sample, f"a later row writes the same mask {sample.mask_file}")
        rows = {sample.row for sample in lost}
        return [sample for sample in samples if sample.row not in rows]

    def _count(self, sample: Sample) -> None:
        if self._report.first_prediction_s is None:
            self._report.first_prediction_s = self._report.seconds()
        self._report.counts[sample.kind] += 1


def _check_precision(precision: str) -> None:
    if precision not in ("auto", "float32"):
        raise UserError(f"--precision {precision}: this runtime offers float32 only; use auto or float32")


def _announce_priors(samples: Sequence[Sample], prior_tasks: Sequence[str]) -> None:
    asked = {sample.task_id for sample in samples}.intersection(prior_tasks)
    if asked:
        logger.warning("no training data, answered with the prior: %s", ", ".join(sorted(asked)))


def _prepare(output_dir: Path) -> None:
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        if any(output_dir.iterdir()):
            logger.warning("%s is not empty; files of the same names are overwritten", output_dir)
    except OSError as error:
        raise UserError(
            f"the output folder {output_dir} cannot be used ({error.strerror}); mount a writable one"
        ) from error
