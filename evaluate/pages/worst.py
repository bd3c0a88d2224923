"""The worst answers of each kind, drawn with their truth, on one sheet per kind."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from challenge.errors import ImageError, MaskError, UserError
from challenge.manifest import Sample, read_manifest
from challenge.readers import Submission, open_submission
from challenge.tasks import TaskKind
from evaluate.outputs import write_output
from evaluate.pages.case_text import described, goodness
from evaluate.pages.overlays import overlay, text_font
from evaluate.pages.rows import read_row
from evaluate.scores.cases import Case, Outcome
from evaluate.scores.result import Result

_COLUMNS, _SIDE, _CAPTION, _GAP = 5, 300, 40, 8
_PAPER, _INK = (17, 20, 26), (240, 243, 247)


def worst(result: Result, kind: TaskKind, count: int) -> list[Case]:
    """Return the `count` worst answered cases of a kind, worst first."""
    tasks = {task.spec.task_id for task in result.tasks_of(kind)}
    answered = [case for case in result.cases if case.outcome is Outcome.ANSWERED and case.task_id in tasks]
    return sorted(answered, key=goodness)[:count]


def write_sheets(
    result: Result, data_root: Path, predictions: Path, output: Path, count: int
) -> Iterator[tuple[Path, list[str]]]:
    """Write `output/worst-KIND.jpg` for every kind that has answers; yield the file and a line per case in it.

    Raises UserError if the folders cannot be read, or are not the ones that `result` belongs to.
    """
    samples = {str(sample.row): sample for sample in read_manifest(data_root).samples}
    submission = open_submission(predictions)
    for kind in TaskKind:
        chosen = worst(result, kind, count)
        if not chosen:
            continue
        if missing := [case.row for case in chosen if case.row not in samples]:
            raise UserError(f"{data_root} has no row {missing[0]}; give the data folder that was scored")
        tiles = [_tile(case, samples[case.row], data_root, submission) for case in chosen]
        path = _sheet_path(output, kind)
        stream = io.BytesIO()
        _sheet(tiles).save(stream, "JPEG", quality=85)
        write_output(path, stream.getvalue())
        lines = [f"{case.task_id}, {' '.join(described(case)).strip()}: {case.image_path}" for case in chosen]
        yield path, lines


def sheet_paths(output: Path) -> list[Path]:
    """Return the files that `write_sheets` may write."""
    return [_sheet_path(output, kind) for kind in TaskKind]


def _sheet_path(output: Path, kind: TaskKind) -> Path:
    return output / f"worst-{kind.value.lower()}.jpg"


def _tile(case: Case, sample: Sample, data_root: Path, submission: Submission) -> Image.Image:
    try:
        drawn = overlay(*read_row(sample, data_root, submission), side=_SIDE)
    except (OSError, ImageError, MaskError) as error:
        raise UserError(
            f"{sample.row}: {sample.image_path} cannot be drawn ({error}); score the folder again"
        ) from error
    tile = Image.new("RGB", (_SIDE, drawn.height + _CAPTION), _PAPER)
    tile.paste(drawn, ((_SIDE - drawn.width) // 2, _CAPTION))
    score, detail = described(case)
    text = f"{case.task_id}\n{score}  {detail}"
    ImageDraw.Draw(tile).multiline_text((2, 3), text, fill=_INK, font=text_font(14), spacing=3)
    return tile


def _sheet(tiles: Sequence[Image.Image]) -> Image.Image:
    rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
    heights = [max(tile.height for tile in row) for row in rows]
    width = min(_COLUMNS, len(tiles)) * (_SIDE + _GAP) + _GAP
    sheet = Image.new("RGB", (width, sum(heights) + (len(rows) + 1) * _GAP), _PAPER)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (_GAP + column * (_SIDE + _GAP), top))
        top += height + _GAP
    return sheet
