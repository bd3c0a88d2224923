"""One whole run: reads the manifest, writes the challenge's output folder, fills the run report."""

import errno
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from challenge.errors import UserError
from challenge.host.disk import DiskFullError, is_full
from challenge.host.leftovers import check_replaceable, refusal
from challenge.host.limits import available_cpus, memory_limit_mib
from challenge.host.output_files import check_answers_folder, check_inputs_are_kept, check_own_folder, files_in
from challenge.host.progress import progress
from challenge.manifest import Sample, superseded
from challenge.paths import MANIFEST_FOLDER, check_links, find_quietly
from challenge.tasks import check_task_names, with_extra_tasks
from challenge.writers import soft_mask_files
from model.frozen.cost import Cost
from model.frozen.engine import Engine, open_engine
from model.frozen.loading import Batch, isolated, plan, rows_of
from model.frozen.metadata import WeightsMetadata, read_metadata, verify
from model.frozen.options import Options
from model.frozen.run.confidence_file import write_confidence
from model.frozen.run.journal import Identity, open_journal
from model.frozen.run.recorder import Recorder, json_bytes
from model.frozen.run.report import RunReport

logger = logging.getLogger(__name__)


def run_submission(
    data_root: Path,
    output_dir: Path,
    options: Options,
    report: RunReport,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Answer every row of the manifests below `data_root` into `output_dir`; fill `report` on the way.

    After `stop` returns True the run finishes the current batches and ends: the JSON files hold all answers so far, the
    journal stays, and `report.status` is `stopped`. Raises UserError, before any work, if the manifests or the weights
    are unusable or an answer would replace an input; DiskFullError; OSError if `output_dir` is not writable.
    """
    metadata = read_metadata(options.weights)
    report.weights = {"name": metadata.name, "sha256": verify(metadata, options.weights)}
    level = options.postprocess or metadata.default_postprocess
    report.postprocess = level
    samples = _samples(data_root, options, metadata, report)
    _check_output(data_root, output_dir, samples, options)
    asked = {sample.task_id for sample in samples}
    own_tasks = (spec for spec in options.profile.own_tasks if spec.task_id in asked)
    report.prior_tasks = metadata.with_priors(own_tasks).prior_tasks
    report.class_names = metadata.class_names
    work = _Work.of(samples, options)
    report.rows, report.part = len(work.samples), f"{options.part_id}/{options.num_parts}"
    engine, description = open_engine(metadata, data_root, options, report.weights["sha256"])
    report.describe(options.device, description)
    logger.info("weights %s on %s in %s, post-processing: %s", metadata.name, description.device,
                description.precision, report.postprocess)  # fmt: skip
    report.cost = Cost.of(metadata, level, work.batches)
    if report.cost.passes > 1:
        logger.info("cost: %s", report.cost)
    report.limits = {"processors": available_cpus(), "memory_mib": memory_limit_mib()}
    logger.info("limits: %d processors, %s", available_cpus(), _memory_text(memory_limit_mib()))
    _announce_priors(work.samples, report.prior_tasks)
    identity = _identity(samples, work, options, report)
    try:
        _prepare(output_dir, options.resume)
        masks = (sample.mask_file for sample in work.samples if sample.mask_file)
        check_replaceable(output_dir, [*map(PurePosixPath, options.profile.answer_files), *masks])
        with open_journal(output_dir, identity, resume=options.resume) as journal:
            recorder = Recorder(data_root, output_dir, options.profile, journal, samples, report, options.soft_masks)
            _answer(work, engine, recorder, report, stop)
            report.sign(output_dir, options.profile.answer_files)
            if options.confidence:
                write_confidence(options.confidence, journal.records(), report)
            if report.status == "complete" and options.num_parts == 1:
                journal.remove()
    except PermissionError as error:
        raise refusal(error, output_dir) from error
    except OSError as error:
        if not is_full(error):
            raise
        raise DiskFullError.of(output_dir, report.answered, report.rows, json_bytes(work.samples)) from error
    finally:
        engine.close()


@dataclass(frozen=True)
class _Work:
    """The work of this process: whole batches, and rows without an answer because a later row overwrites their mask."""

    batches: Sequence[Batch]
    superseded: Sequence[Sample]

    @classmethod
    def of(cls, samples: Sequence[Sample], options: Options) -> "_Work":
        lost = superseded(samples)
        rows = {sample.row for sample in lost}
        batches = plan((sample for sample in samples if sample.row not in rows), options.batch_size)
        # Every n-th batch, because batches of one task are adjacent and some tasks take longer.
        mine = slice(options.part_id, None, options.num_parts)
        return cls(batches[mine], lost[mine])

    @property
    def samples(self) -> list[Sample]:
        return [*rows_of(self.batches), *self.superseded]


def _answer(work: _Work, engine: Engine, recorder: Recorder, report: RunReport, stop: Callable[[], bool]) -> None:
    """Answer the rows that are not in the journal, and write the JSON files."""
    recorder.check_images()
    try:
        recorder.reserve(work.samples)
        done = recorder.replay()
        report.resumed = len(done)
        for sample in work.superseded:
            if sample.row not in done:
                recorder.add_superseded(sample)
        left = [batch for batch in work.batches if not done.issuperset(sample.row for sample in rows_of([batch]))]
        left = isolated(left, recorder.suspects)
        report.start_up_s = report.seconds()
        for _ in progress(engine.run(left, recorder.add, stop, recorder.announce), len(rows_of(left)), "rows"):
            pass
        recorder.write_json()
    except OSError as error:
        if not is_full(error):
            raise
        raise recorder.disk_full(work.samples) from error
    if report.answered == report.rows:
        report.status = "complete"
    elif stop():
        report.status = "stopped"
    else:
        raise RuntimeError(f"{report.rows} rows but {report.answered} answers; please report this as a bug")


def _samples(data_root: Path, options: Options, metadata: WeightsMetadata, report: RunReport) -> list[Sample]:
    known = with_extra_tasks(metadata.specs.values())
    check_task_names(options.tasks, [*known, *(spec.task_id for spec in options.profile.own_tasks)])
    manifest = options.profile.read_manifest(data_root, known)
    report.duplicates = len(manifest.repeated)
    return [sample for sample in manifest.samples if not options.tasks or sample.task_id in options.tasks]


def _check_output(data_root: Path, output_dir: Path, samples: Sequence[Sample], options: Options) -> None:
    check_answers_folder(output_dir, data_root, options.weights)
    output_dir = Path(os.path.realpath(output_dir))  # "new/../data" exists only once "new" exists
    masks = [sample.mask_file for sample in samples if sample.mask_file]
    answers = [*masks, *map(PurePosixPath, options.profile.answer_files)]
    check_links(output_dir, answers)
    check_inputs_are_kept((output_dir / answer for answer in answers), _inputs(data_root, samples, options))
    if options.soft_masks:
        _check_soft_masks(options.soft_masks, data_root, output_dir, samples, options)


def _check_soft_masks(
    folder: Path, data_root: Path, output_dir: Path, samples: Sequence[Sample], options: Options
) -> None:
    if options.mask_resize != "logits":
        raise UserError("--soft-masks needs resized logits; leave out --mask-resize labels")
    check_own_folder("--soft-masks", folder, (output_dir, data_root, options.weights))
    folder = Path(os.path.realpath(folder))
    files = [file for sample in samples for file in soft_mask_files(sample)]
    check_links(folder, files)
    check_inputs_are_kept((folder / file for file in files), _inputs(data_root, samples, options))
    check_replaceable(folder, files)
    # Parts of a run share the folder, and a resumed run finds its own files.
    if options.num_parts == 1 and not options.resume and any(files_in(folder)):
        logger.warning("%s is not empty; files of the same names are overwritten", folder)


def _inputs(data_root: Path, samples: Sequence[Sample], options: Options) -> Iterator[Path]:
    """Yield all input files, including the true masks, which a run does not read."""
    for image_path in {sample.image_path for sample in samples}:
        if image := find_quietly(data_root, image_path):
            yield image
    for sample in samples:
        if sample.mask_file:
            yield data_root / sample.mask_file
        if true_mask := sample.cells.get("true_mask"):
            yield data_root / true_mask
    yield from files_in(data_root / MANIFEST_FOLDER)
    yield from files_in(options.weights)
    if options.profile.list_file:
        yield options.profile.list_file


def _identity(samples: Sequence[Sample], work: _Work, options: Options, report: RunReport) -> Identity:
    digest = hashlib.sha256()
    for s in samples:
        row = f"{s.row}\0{s.image_path}\0{s.task_id}\0{s.kind}\0{s.num_classes}\0{s.mask_file}\n"
        digest.update(row.encode(errors="surrogateescape"))  # file names may hold bytes that are not UTF-8
    return Identity(
        profile=options.profile.name,
        weights=report.weights["sha256"],
        manifest=digest.hexdigest(),
        rows=len(samples),
        batch_size=options.batch_size,
        precision=report.precision,
        mask_resize=options.mask_resize,
        postprocess=report.postprocess,
        tasks=",".join(options.tasks),
        num_parts=options.num_parts,
        part_id=options.part_id,
        part_rows=len(work.samples),
        soft_masks="yes" if options.soft_masks else "no",
    )


def _announce_priors(samples: Sequence[Sample], prior_tasks: Sequence[str]) -> None:
    asked = {sample.task_id for sample in samples}.intersection(prior_tasks)
    if asked:
        logger.warning("tasks without training data, answered with the prior: %s", ", ".join(sorted(asked)))


def _memory_text(limit_mib: int | None) -> str:
    return f"{limit_mib} MiB of memory" if limit_mib else "no limit of memory"


def _prepare(output_dir: Path, resume: bool) -> None:
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        if not os.access(output_dir, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if any(output_dir.iterdir()) and not resume:
            logger.warning("%s is not empty; files of the same names are overwritten", output_dir)
    except OSError as error:
        if is_full(error):
            raise
        raise UserError(
            f"the output folder {output_dir} cannot be used ({error.strerror}); mount a writable one"
        ) from error
