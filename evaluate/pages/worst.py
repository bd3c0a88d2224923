"""The worst answers of each kind, drawn with their truth, on one sheet per kind."""

import io
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from challenge.class_names import ClassNames
from challenge.errors import ImageError, MaskError, UserError
from challenge.host.console import printable
from challenge.manifest import Sample, read_manifest
from challenge.readers import Submission, open_submission
from challenge.tasks import TaskKind, TaskSpec
from evaluate.outputs import write_output
from evaluate.pages.case_text import described, file_name, goodness
from evaluate.pages.overlays import Colour, class_colour, overlay, text_font
from evaluate.pages.rows import read_row
from evaluate.scores.cases import Case, Outcome
from evaluate.scores.result import Result

_COLUMNS, _SIDE, _GAP, _LINE = 5, 300, 8, 18
_LEGEND = 34
_PAPER, _INK, _SOFT = (17, 20, 26), (240, 243, 247), (160, 168, 180)


def worst(result: Result, kind: TaskKind, count: int) -> list[Case]:
    """Return the `count` worst answered cases of a kind, worst first."""
    tasks = {task.spec.task_id for task in result.tasks_of(kind)}
    answered = [case for case in result.cases if case.outcome is Outcome.ANSWERED and case.task_id in tasks]
    return sorted(answered, key=goodness)[:count]


def write_sheets(
    result: Result, data_root: Path, predictions: Path, output: Path, count: int, names: ClassNames | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """Write `output/worst-KIND.jpg` for every kind that has answers; yield the file and a line per case in it.

    `names` are what the classes are called. Raises UserError if the folders cannot be read, or are not the ones that
    `result` belongs to.
    """
    names = names or ClassNames()
    names.check(task.spec for task in result.tasks.values())
    samples = {str(sample.row): sample for sample in read_manifest(data_root).samples}
    submission = open_submission(predictions)
    for kind in TaskKind:
        chosen = worst(result, kind, count)
        if not chosen:
            continue
        if missing := [case.row for case in chosen if case.row not in samples]:
            raise UserError(f"{data_root} has no row {missing[0]}; give the data folder that was scored")
        specs = [result.tasks[case.task_id].spec for case in chosen]
        tiles = [
            _tile(case, samples[case.row], data_root, submission, spec, names.of(spec))
            for case, spec in zip(chosen, specs, strict=True)
        ]
        path = _sheet_path(output, kind)
        stream = io.BytesIO()
        _sheet(tiles, kind).save(stream, "JPEG", quality=85)
        write_output(path, stream.getvalue())
        texts = [" ".join(described(case, names.of(spec))).strip() for case, spec in zip(chosen, specs, strict=True)]
        lines = [f"{case.task_id}, {text}: {case.image_path}" for case, text in zip(chosen, texts, strict=True)]
        yield path, lines


def sheet_paths(output: Path) -> list[Path]:
    """Return the files that `write_sheets` may write."""
    return [_sheet_path(output, kind) for kind in TaskKind]


def _sheet_path(output: Path, kind: TaskKind) -> Path:
    return output / f"worst-{kind.value.lower()}.jpg"


def _tile(
    case: Case, sample: Sample, data_root: Path, submission: Submission, spec: TaskSpec, names: Sequence[str]
) -> Image.Image:
    try:
        drawn = overlay(*read_row(sample, data_root, submission), side=_SIDE, class_names=names)
    except (OSError, ImageError, MaskError) as error:
        raise UserError(
            f"{sample.row}: {sample.image_path} cannot be drawn ({error}); score the folder again"
        ) from error
    score, detail = described(case, names)
    several = spec.kind is TaskKind.SEGMENTATION and spec.num_classes > 2
    words = [(f"{case.task_id}: {score}", _INK), *_wrapped(detail, _INK), *_wrapped(file_name(case.image_path), _SOFT)]
    words += [(name, class_colour(index)) for index, name in enumerate(names[1:] if several else (), start=1)]
    tile = Image.new("RGB", (_SIDE, drawn.height + _LINE * len(words) + 6), _PAPER)
    for number, (text, ink) in enumerate(words):
        ImageDraw.Draw(tile).text((2, 3 + _LINE * number), text, fill=ink, font=text_font(13))
    tile.paste(drawn, ((_SIDE - drawn.width) // 2, tile.height - drawn.height))
    return tile


def _wrapped(text: str, ink: Colour) -> Iterator[tuple[str, Colour]]:
    """Yield the lines of a text that fit into a tile, names without blanks broken too."""
    return ((line, ink) for line in textwrap.wrap(printable(text), 42))


def _sheet(tiles: Sequence[Image.Image], kind: TaskKind) -> Image.Image:
    rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
    heights = [max(tile.height for tile in row) for row in rows]
    width = max(min(_COLUMNS, len(tiles)) * (_SIDE + _GAP) + _GAP, 2 * _SIDE)
    sheet = Image.new("RGB", (width, _LEGEND + sum(heights) + (len(rows) + 1) * _GAP), _PAPER)
    _draw_legend(sheet, kind)
    top = _LEGEND + _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (_GAP + column * (_SIDE + _GAP), top))
        top += height + _GAP
    return sheet


def _draw_legend(sheet: Image.Image, kind: TaskKind) -> None:
    """Say at the top of the sheet which lines are the prediction and which the truth."""
    if kind is TaskKind.CLASSIFICATION:
        entries = [
            ("answer", class_colour(1), 7),
            ("other classes", _SOFT, 7),
            ("true class", class_colour(1, pale=True), 0),
        ]
    else:
        entries = [("prediction", class_colour(1), 4), ("truth", class_colour(1, pale=True), 2)]
    draw, left, middle = ImageDraw.Draw(sheet), _GAP + 2, _LEGEND // 2 + 2
    for text, colour, width in entries:
        if width:
            draw.line((left, middle, left + 34, middle), fill=colour, width=width)
        else:  # the arrow that points at the true class
            draw.polygon([(left + 14, middle - 6), (left + 24, middle), (left + 14, middle + 6)], fill=colour)
        font = text_font(15)
        draw.text((left + 42, middle), text, fill=_INK, font=font, anchor="lm")
        left += 42 + round(font.getlength(text)) + 28
