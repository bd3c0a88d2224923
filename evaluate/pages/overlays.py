"""Draws predictions onto their image: mask contours, boxes, numbered keypoints, class bars. Pillow and numpy only."""

import base64
import io
import math
from collections.abc import Container, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from challenge.predictions import BoxPrediction, ClassPrediction, MaskPrediction, PointsPrediction, Prediction
from evaluate.pages.case_text import class_name

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
"""Okabe and Ito's palette (without black), which colour-blind readers can tell apart. Class 1 has the first colour."""

# Everything is drawn at twice the size and halved at the end, which smooths the lines.
_SUPERSAMPLING = 2
_FAR = 0.08
"""A true point is far from the predicted one at this share of the longer side."""
_HALO = (8, 10, 14)
_PANEL = (17, 20, 26)
_INK = (240, 243, 247)
_MUTED = (160, 168, 180)


def overlay(
    image: Image.Image,
    prediction: Prediction | None,
    truth: Prediction | None = None,
    side: int = 640,
    class_names: Sequence[str] = (),
) -> Image.Image:
    """Return `image` with `prediction` and, thinner and in a pale tone, `truth` drawn on it.

    The result is RGB. Its longer side is `side` pixels, so that lines and text look the same on images of any size.
    Class probabilities are drawn in a panel below the picture, which makes the result taller; classes without a name in
    `class_names` have their number. Predictions are in pixels of `image`; masks of another size are scaled to it.
    Missing true points are NaN. `image` must have 8 bits per channel, as `challenge.imaging.decode.read_image` returns
    it.
    """
    factor = side / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    canvas = image.convert("RGB").resize((size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING), Image.Resampling.BICUBIC)
    scale = canvas.width / image.width, canvas.height / image.height
    line = max(2.0, side * _SUPERSAMPLING / 130)
    # The truth is drawn last and thinner: where both agree, it is a pale core in a coloured line.
    for answer, is_truth in ((prediction, False), (truth, True)):
        width = line / 2 if is_truth else line
        match answer:
            case MaskPrediction():
                _draw_mask(canvas, answer.labels, width, is_truth)
            case BoxPrediction():
                _draw_box(canvas, answer.pixels, scale, width, is_truth)
            case PointsPrediction():
                numbered = _far_points(answer, prediction, scale, canvas.size) if is_truth else None
                _draw_points(canvas, answer.pixels, scale, width, is_truth, numbered)
            case _:
                pass
    if isinstance(prediction, ClassPrediction) and prediction.probabilities:
        true_class = truth.predicted_class if isinstance(truth, ClassPrediction) else None
        canvas = _with_bars(canvas, prediction, true_class, class_names)
    return canvas.reduce(_SUPERSAMPLING)


def shrunk(image: Image.Image, side: int) -> Image.Image:
    """Return the image in RGB, its longer side `side` pixels."""
    factor = side / max(image.size)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.convert("RGB").resize(size, Image.Resampling.BICUBIC)


def data_uri(image: Image.Image, quality: int) -> str:
    """Return a picture as a WebP data URI for a page. `quality` is WebP's, 0..100."""
    stream = io.BytesIO()
    image.save(stream, format="WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def class_colour(index: int, *, pale: bool = False) -> Colour:
    """Return the colour of class `index` >= 1; `pale` is the tone of the truth."""
    red, green, blue = PALETTE[(index - 1) % len(PALETTE)]
    if not pale:
        return red, green, blue
    return (red + 510) // 3, (green + 510) // 3, (blue + 510) // 3


def _draw_mask(canvas: Image.Image, labels: npt.NDArray[np.uint8], width: float, is_truth: bool) -> None:
    for index in np.unique(labels[labels > 0]):
        inside, corner = _enlarged(labels == index, canvas.size)
        line, colour = round(width), class_colour(int(index), pale=is_truth)
        core = _eroded(inside, line)
        if not is_truth:
            canvas.paste(colour, corner, _alpha(inside, 40))
        canvas.paste(_HALO, corner, _alpha(core & ~_eroded(core, line // 2), 110))
        canvas.paste(colour, corner, _alpha(inside & ~core, 255))


def _enlarged(shape: npt.NDArray[np.bool_], size: tuple[int, int]) -> tuple[npt.NDArray[np.bool_], tuple[int, int]]:
    """Scale a shape's surroundings to a canvas of `size`; return them with the (x, y) of their corner on it."""
    factors = size[0] / shape.shape[1], size[1] / shape.shape[0]
    spans = []
    for axis, factor, limit in ((0, factors[0], size[0]), (1, factors[1], size[1])):
        held = np.flatnonzero(shape.any(axis=axis))
        spans.append((max(0, math.floor((held[0] - 1) * factor)), min(limit, math.ceil((held[-1] + 2) * factor))))
    (left, right), (top, bottom) = spans
    region = (left / factors[0], top / factors[1], right / factors[0], bottom / factors[1])
    grey = np.asarray(_alpha(shape, 255).resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=region))
    inside = grey > 127
    # A shape too small for the scaled picture is still shown.
    return (inside if inside.any() else grey > 0), (left, top)


def _alpha(where: npt.NDArray[np.bool_], value: int) -> Image.Image:
    return Image.fromarray(np.where(where, np.uint8(value), np.uint8(0)))


def _eroded(inside: npt.NDArray[np.bool_], pixels: int) -> npt.NDArray[np.bool_]:
    """Shrink by an octagon of that radius (diamond and square steps in turn). Outside the array is background."""
    for step in range(pixels):
        padded = np.pad(inside, 1)
        inside = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        if step % 2:
            inside = inside & padded[:-2, :-2] & padded[:-2, 2:] & padded[2:, :-2] & padded[2:, 2:]
    return inside


def _draw_box(
    canvas: Image.Image,
    pixels: tuple[float, float, float, float],
    scale: tuple[float, float],
    width: float,
    is_truth: bool,
) -> None:
    if not all(map(math.isfinite, pixels)):
        return
    (x0, y0), (x1, y1) = (_on_canvas(canvas, x, y, scale) for x, y in (pixels[:2], pixels[2:]))
    corners = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
    draw, line = ImageDraw.Draw(canvas), round(width)
    halo = line // 2 + 1
    grown = (corners[0] - halo, corners[1] - halo, corners[2] + halo, corners[3] + halo)
    draw.rectangle(grown, outline=_HALO, width=line + 2 * halo)
    draw.rectangle(corners, outline=class_colour(1, pale=is_truth), width=line)


def _far_points(
    truth: PointsPrediction, prediction: Prediction | None, scale: tuple[float, float], size: tuple[int, int]
) -> set[int]:
    """Return the indices of true points that are far from the predicted ones: swapped ends would look right else."""
    if not isinstance(prediction, PointsPrediction) or len(prediction.pixels) != len(truth.pixels):
        return set()
    steps = (np.subtract(truth.pixels, prediction.pixels).reshape(-1, 2) * scale) / max(size)
    return {index for index, distance in enumerate(np.hypot(*steps.T)) if distance > _FAR}


def _draw_points(
    canvas: Image.Image,
    pixels: Sequence[float],
    scale: tuple[float, float],
    width: float,
    is_truth: bool,
    numbered: Container[int] | None,
) -> None:
    """Draw dots, joined in pairs. The points of the indices `numbered` have their number, all of them if it is None."""
    native = list(zip(pixels[0::2], pixels[1::2], strict=True))
    known = [math.isfinite(x) and math.isfinite(y) for x, y in native]
    points = [_on_canvas(canvas, x, y, scale) for x, y in native]
    draw, line = ImageDraw.Draw(canvas), round(width)
    for first in range(0, len(points) - 1, 2):
        if known[first] and known[first + 1]:
            pair = points[first : first + 2]
            draw.line(pair, fill=_HALO, width=line * 2)
            draw.line(pair, fill=class_colour(first // 2 + 1, pale=is_truth), width=line)
    for index, ((x, y), is_known) in enumerate(zip(points, known, strict=True)):
        if not is_known:
            continue
        colour, radius = class_colour(index // 2 + 1, pale=is_truth), width * 1.6
        draw.ellipse(_around(x, y, radius + line / 2), fill=_HALO)
        draw.ellipse(_around(x, y, radius), fill=colour)
        if numbered is None or index in numbered:
            _draw_number(canvas, index + 1, (x, y), radius + line, is_truth)


def _draw_number(canvas: Image.Image, number: int, place: tuple[float, float], offset: float, is_truth: bool) -> None:
    """Write a point's number to its upper right, that of a true point in a pale tone to its lower left."""
    side = -1 if is_truth else 1
    ImageDraw.Draw(canvas).text(
        (place[0] + side * offset, place[1] - side * offset),
        str(number),
        fill=class_colour((number + 1) // 2, pale=True) if is_truth else _INK,
        font=text_font(max(canvas.size) / 28),
        anchor="rt" if is_truth else "ls",
        stroke_width=max(1, round(max(canvas.size) / 400)),
        stroke_fill=_HALO,
    )


def _on_canvas(canvas: Image.Image, x: float, y: float, scale: tuple[float, float]) -> tuple[float, float]:
    """Scale a native position. Far positions are clipped, because Pillow spends time on invisible pixels too."""
    far = 2 * max(canvas.size)
    return max(-far, min(x * scale[0], far)), max(-far, min(y * scale[1], far))


def _around(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
    return x - radius, y - radius, x + radius, y + radius


def _with_bars(
    canvas: Image.Image, prediction: ClassPrediction, true_class: int | None, class_names: Sequence[str]
) -> Image.Image:
    """Return a taller canvas with one bar per class. The answer's bar is coloured; an arrow marks the true class."""
    row = max(canvas.size) / 18
    pad, font = row / 2, text_font(row * 0.62)
    names = [class_name(class_names, index) for index in range(len(prediction.probabilities))]
    panel = Image.new("RGB", (canvas.width, round(row * len(names) + 2 * pad)), _PANEL)
    draw = ImageDraw.Draw(panel)
    start = min(canvas.width * 0.45, pad + max(font.getlength(name) for name in names) + row)
    stop = max(start + row, canvas.width - pad - font.getlength("100.0 %") - pad)
    for index, (name, probability) in enumerate(zip(names, prediction.probabilities, strict=True)):
        middle = pad + row * (index + 0.5)
        answered = index == prediction.predicted_class
        ink = _INK if answered else _MUTED
        draw.text((pad, middle), name, fill=ink, font=font, anchor="lm")
        if index == true_class:
            draw.polygon(
                [
                    (start - row * 0.35, middle - row * 0.2),
                    (start - row * 0.05, middle),
                    (start - row * 0.35, middle + row * 0.2),
                ],
                fill=class_colour(1, pale=True),
            )
        track = (start, middle - row * 0.26, stop, middle + row * 0.26)
        draw.rounded_rectangle(track, radius=row * 0.13, fill=(38, 43, 52))
        share = min(max(probability, 0.0), 1.0) if math.isfinite(probability) else 0.0
        if share * (stop - start) >= 1:
            filled = (start, track[1], start + share * (stop - start), track[3])
            draw.rounded_rectangle(filled, radius=row * 0.13, fill=class_colour(1) if answered else _MUTED)
        draw.text((canvas.width - pad, middle), f"{share * 100:.1f} %", fill=ink, font=font, anchor="rm")
    joined = Image.new("RGB", (canvas.width, canvas.height + panel.height))
    joined.paste(canvas)
    joined.paste(panel, (0, canvas.height))
    return joined


def text_font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font at `size` pixels."""
    return ImageFont.load_default(max(8, round(size)))
