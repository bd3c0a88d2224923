"""Records answers: masks in the output folder, all others in the journal, counts in the report."""

import logging
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from challenge.errors import ImageError, PathError, UserError
from challenge.host.disk import DiskFullError, free_bytes, on_disk, reserve
from challenge.manifest import Row, Sample
from challenge.paths import find_image
from challenge.predictions import BlankMask, MaskPrediction
from challenge.profile import Profile
from challenge.tasks import TaskKind
from challenge.writers import write_soft_masks
from model.frozen.loading import Batch
from model.frozen.pipeline import Answer
from model.frozen.run.journal import Journal, Record, Stamp
from model.frozen.run.report import RunReport

logger = logging.getLogger(__name__)

# Bytes of the longest double with its separator, and of an entry without its numbers and names.
_NUMBER_BYTES, _ENTRY_BYTES = 26, 160


class Recorder:
    """Records the answers to `samples`, all rows of the manifest. `add` is called from worker threads.

    During the run, `.journal.reserve` reserves the disk space that the JSON files may need, so that they can be written
    even if the disk fills up.
    """

    def __init__(
        self,
        data_root: Path,
        output_dir: Path,
        profile: Profile,
        journal: Journal,
        samples: Sequence[Sample],
        report: RunReport,
        soft_masks: Path | None = None,
    ) -> None:
        self._data_root = data_root
        self._output_dir = output_dir
        self._profile = profile
        self._journal = journal
        self._samples = samples
        self._report = report
        self._soft_masks = soft_masks
        self._index = {sample.row: index for index, sample in enumerate(samples)}
        self._lock = threading.Lock()
        self._reserve = journal.path.with_name(f"{journal.path.name}.reserve")
        self._done: set[Row] = set()
        self._masks = self._mask_bytes = 0

    def reserve(self, samples: Iterable[Sample]) -> None:
        """Reserve the disk space that the JSON files of these rows may need. Raises OSError if there is too little."""
        reserve(self._reserve, json_bytes(samples))

    def announce(self, batch: Batch) -> None:
        """Record which images are read next. Raises OSError."""
        self._journal.about_to_read({job.image_path: _stamp(self._data_root, job.image_path) for job in batch})

    @property
    def suspects(self) -> set[str]:
        """Images that an earlier process of this run was reading, without an answer yet, when it died."""
        return self._journal.suspects

    def check_images(self) -> None:
        """Raise UserError if an image was replaced after an earlier process of this run answered it."""
        answered = {record.image_path for record in self._journal.records()}
        stamps = self._journal.stamps.items()
        changed = [name for name, was in stamps if name in answered and _stamp(self._data_root, name) != was]
        if changed:
            raise UserError(
                f"--resume: {len(changed)} images were replaced since they were answered, the first {changed[0]!r}; "
                "restore the original images, or leave out --resume to start again"
            )

    def replay(self) -> set[Row]:
        """Count the rows that the journal lists and whose masks are intact; return these rows."""
        for record in self._journal.records():
            if self._is_whole(record):
                self._count(record)
                self._done.add(self._samples[record.index].row)
        return self._done

    def add(self, answer: Answer) -> None:
        """Record one answer, unless an earlier run did. Raises OSError."""
        sample, prediction = answer.sample, answer.prediction
        if sample.row in self._done:
            return
        note = "; ".join(filter(None, (sample.note, answer.note))) or None
        about: dict[str, Any] = {"reason": answer.reason, "note": note, "looked": answer.looked}
        if answer.confidence:
            about |= {"confidence": answer.confidence.value, "spread": answer.confidence.spread}
        if isinstance(prediction, MaskPrediction | BlankMask):
            soft = write_soft_masks(self._soft_masks, sample, prediction) if self._soft_masks else ()
            mask = self._profile.write_mask(self._output_dir, sample, prediction)
            self._keep(self._record(sample, mask=mask, soft_masks=soft, **about))
        else:
            self._keep(self._record(sample, entry=self._profile.entry(sample, prediction), **about))

    def add_superseded(self, sample: Sample) -> None:
        """Record that a later row overwrites this row's mask. Raises OSError."""
        self._keep(self._record(sample, reason=f"a later row writes the same mask {sample.mask_file}"))

    def write_json(self) -> None:
        """Write the JSON files of all rows answered so far. Raises OSError."""
        self._reserve.unlink(missing_ok=True)
        self._journal.sync()
        self._profile.write_json(self._output_dir, self._journal.entries)

    def disk_full(self, samples: Iterable[Sample]) -> DiskFullError:
        """Write the JSON files if the full disk allows it; return the error that says how much space `samples` need."""
        try:
            self.write_json()
        except OSError as error:
            logger.warning("the JSON files could not be written (%s); the journal keeps the answers", error)
        masks = sum(sample.kind is TaskKind.SEGMENTATION for sample in samples) - self._masks
        mask_bytes = self._mask_bytes // self._masks if self._masks else on_disk(1)
        line_bytes = self._journal.size // (len(self._journal) + 1)
        answered, rows = self._report.answered, self._report.rows
        needed = max(0, masks) * mask_bytes + (rows - answered) * line_bytes + 1
        folders = [folder for folder in (self._output_dir, self._soft_masks) if folder]
        return DiskFullError.of(min(folders, key=free_bytes), answered, rows, needed)

    def _is_whole(self, record: Record) -> bool:
        """Return whether the row's files are those that were written."""
        if record.mask and not record.mask.is_whole(self._output_dir):
            return False
        return self._soft_masks is None or all(file.is_whole(self._soft_masks) for file in record.soft_masks)

    def _record(self, sample: Sample, **content: Any) -> Record:
        index, row = self._index[sample.row], str(sample.row)
        return Record(index, sample.kind, row, sample.image_path, sample.task_id, **content)

    def _keep(self, record: Record) -> None:
        self._journal.append(record)
        with self._lock:
            if self._report.first_prediction_s is None:
                self._report.first_prediction_s = self._report.seconds()
            self._count(record)
        if record.note:
            logger.warning("%s: %s: %s", record.row, record.image_path, record.note)
        if record.reason:
            logger.warning("%s: fallback for %s: %s", record.row, record.task_id, record.reason)

    def _count(self, record: Record) -> None:
        self._report.add(record)
        if record.mask:
            self._masks += 1
            self._mask_bytes += sum(on_disk(file.size) for file in (record.mask, *record.soft_masks))


def json_bytes(samples: Iterable[Sample]) -> int:
    """Return an upper bound of the bytes that the JSON files of these rows take."""
    return on_disk(sum(_entry_bytes(sample) for sample in samples))


def _stamp(data_root: Path, image_path: str) -> Stamp:
    """Return what changes when an image is replaced."""
    try:
        status = find_image(data_root, image_path).stat()
    except (ImageError, PathError, OSError):
        return None
    return status.st_size, status.st_mtime_ns


def _entry_bytes(sample: Sample) -> int:
    if sample.kind is TaskKind.SEGMENTATION:
        return 0
    numbers = {TaskKind.CLASSIFICATION: 1, TaskKind.DETECTION: 8, TaskKind.REGRESSION: 4}[sample.kind]
    names = len(sample.image_path.encode()) + len(sample.task_id.encode())
    return _ENTRY_BYTES + 2 * names + numbers * sample.num_classes * _NUMBER_BYTES
