"""Merges the outputs of `--num-parts` runs into the output of one run, without network, weights or images."""

import heapq
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter
from pathlib import Path, PurePosixPath

from challenge.errors import UserError
from challenge.host.atomic import write_atomically
from challenge.host.disk import DiskFullError, is_full, on_disk
from challenge.host.leftovers import refusal
from challenge.host.output_files import check_answers_folder, check_own_folder, is_same
from challenge.paths import output_file
from challenge.predictions import MaskFile
from challenge.profile import PROFILES
from challenge.tasks import TaskKind
from challenge.writers import JsonObject
from model.frozen.run.confidence_file import write_confidence
from model.frozen.run.journal import Identity, Journal, Record, read_journal
from model.frozen.run.report import RunReport

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Part:
    folder: Path
    identity: Identity
    journal: Journal


def merge(
    folders: Sequence[Path],
    output_dir: Path,
    report: RunReport,
    *,
    soft_masks: Path | None = None,
    confidence: Path | None = None,
) -> None:
    """Write to `output_dir` what one run over all rows would have written. The parts stay unchanged.

    The soft masks of all parts lie in one folder, `soft_masks`, where they stay; it is checked that they are complete.
    `confidence` is the file for the confidence of every row. Raises UserError, before anything is written, unless
    `folders` are all parts of one run, each complete and given once; DiskFullError, after the partial output is
    removed; OSError.
    """
    if any(is_same(output_dir, folder) for folder in folders):
        raise UserError(f"--output {output_dir} is one of the parts; give another folder")
    check_answers_folder(output_dir)
    if soft_masks:
        check_own_folder("--soft-masks", soft_masks, (output_dir, *folders))
    with ExitStack() as stack:
        parts = []
        for folder in folders:
            identity, journal = read_journal(folder)
            parts.append(_Part(folder, identity, stack.enter_context(journal)))
        _check(parts, soft_masks)
        first = parts[0].identity
        report.rows = first.rows
        report.weights = {"sha256": first.weights}
        report.precision, report.postprocess = first.precision, first.postprocess
        try:
            _write(parts, output_dir, report)
            report.sign(output_dir, PROFILES[first.profile].answer_files)
            if confidence:
                write_confidence(confidence, _records(parts), report)
        except PermissionError as error:
            raise refusal(error, output_dir) from error
        except OSError as error:
            if not is_full(error):
                raise
            needed = sum(on_disk(size) for part in parts for size in _sizes(part))
            raise DiskFullError.again(output_dir, "the merged answers", needed) from error
    report.status = "complete"


def _check(parts: Sequence[_Part], soft_masks: Path | None) -> None:
    first = parts[0].identity
    for part in parts[1:]:
        same = replace(part.identity, part_id=first.part_id, part_rows=first.part_rows)
        if differences := same.differences(first):
            raise UserError(
                f"{part.folder} belongs to another run than {parts[0].folder} ({'; '.join(differences)}); "
                "give the parts of one run"
            )
    by_id: dict[int, _Part] = {}
    for part in parts:
        other = by_id.setdefault(part.identity.part_id, part)
        if other is not part:
            raise UserError(f"{other.folder} and {part.folder} are both part {part.identity.part_id}; give it once")
    if missing := [str(number) for number in range(first.num_parts) if number not in by_id]:
        raise UserError(f"of {first.num_parts} parts these are missing: {', '.join(missing)}; give their folders too")
    if soft_masks and first.soft_masks == "no":
        raise UserError("the parts were answered without --soft-masks; leave it out, or run them again with it")
    for part in parts:
        _check_complete(part, soft_masks)
    indices = [record.index for part in parts for record in part.journal.records()]
    if sorted(indices) != list(range(first.rows)):
        raise UserError("the parts do not hold every row exactly once; run them again")


def _check_complete(part: _Part, soft_masks: Path | None) -> None:
    remedy = "run that part again with --resume"
    if len(part.journal) != part.identity.part_rows:
        raise UserError(
            f"{part.folder} has answered {len(part.journal)} of its {part.identity.part_rows} rows; {remedy}"
        )
    for record in part.journal.records():
        if record.mask and not record.mask.is_whole(part.folder):
            raise UserError(f"{record.row}: {part.folder / record.mask.file} is missing or altered; {remedy}")
        if soft_masks and (broken := [file for file in record.soft_masks if not file.is_whole(soft_masks)]):
            raise UserError(
                f"{record.row}: {soft_masks / broken[0].file} is missing or altered; give all parts one --soft-masks "
                f"folder, and {remedy}"
            )


def _sizes(part: _Part) -> Iterator[int]:
    """Yield sizes in bytes; their sum is the least that a part's answers need."""
    yield part.journal.size
    yield from (record.mask.size for record in part.journal.records() if record.mask)


def _write(parts: Sequence[_Part], output_dir: Path, report: RunReport) -> None:
    output_dir.mkdir(parents=True, exist_ok=True)
    if any(output_dir.iterdir()):
        logger.warning("%s is not empty; files of the same names are overwritten", output_dir)
    profile = PROFILES[parts[0].identity.profile]
    made = [output_dir / name for name in profile.answer_files if not (output_dir / name).exists()]
    try:
        for part in parts:
            for record in part.journal.records():
                report.add(record)
                if record.mask:
                    made.extend(_copy(record.mask, part.folder, output_dir))
        profile.write_json(output_dir, partial(_entries, parts))
    except BaseException:
        # A partial output is of no use and takes up the space that the next attempt needs.
        for path in made:
            path.unlink(missing_ok=True)
        raise


def _entries(parts: Sequence[_Part], kind: TaskKind) -> Iterator[JsonObject]:
    return (record.entry for record in _records(parts) if record.kind is kind and record.entry is not None)


def _records(parts: Sequence[_Part]) -> Iterator[Record]:
    return heapq.merge(*(part.journal.records() for part in parts), key=attrgetter("index"))


def _copy(mask: MaskFile, folder: Path, output_dir: Path) -> Iterator[Path]:
    """Copy a mask and yield the copy, unless it exists already.

    The copy is a hard link if possible, to save disk space. A symbolic link (git-annex, DVC and datalad make them) is
    always copied, because it may lead nowhere from another folder.
    """
    source, target = folder / mask.file, output_file(output_dir, PurePosixPath(mask.file))
    if target.exists() and target.samefile(source):
        return
    if source.is_symlink() or not _link(source, target):
        written = write_atomically(target, [source.read_bytes()])
        if written != (mask.size, mask.crc32):
            raise UserError(f"{source} was altered while it was copied; run that part again with --resume")
    yield target


def _link(source: Path, target: Path) -> bool:
    """Make `target` a hard link to `source`, replacing an earlier file. Return whether that worked."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        return False
    return True
