"""Predictions -> the challenge's files (docs/reference/contract.md, 1.3). Every file appears whole or not at all."""

import json
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from challenge.host.atomic import write_atomically
from challenge.manifest import Sample
from challenge.paths import JSON_FILES, output_file
from challenge.predictions import (
    BlankMask,
    BoxPrediction,
    ClassPrediction,
    MaskFile,
    MaskPrediction,
    PointsPrediction,
    Prediction,
)
from challenge.tasks import TaskKind

JsonObject = Mapping[str, Any]
"""The JSON object of one answer."""

_PNG = b"\x89PNG\r\n\x1a\n"
_COMPRESSION = 1  # Masks are nearly empty: higher levels take time and save little.


def write_mask(output_dir: Path, sample: Sample, prediction: MaskPrediction | BlankMask) -> MaskFile:
    """Write a mask to the sample's `mask_path`, as a PNG whatever the file ending (readers look at the content).

    Return what was written. Raises PathError if a link leads out of `output_dir`, OSError if it cannot be written.
    """
    if sample.mask_file is None:
        raise ValueError(f"{sample.row} has no mask file")
    if isinstance(prediction, BlankMask):
        return _write_png(output_dir, sample.mask_file, _blank_png(prediction.width, prediction.height))
    return _write_png(output_dir, sample.mask_file, [_png(prediction.labels)])


def soft_mask_files(sample: Sample) -> list[PurePosixPath]:
    """Return the files of a row's soft masks below their folder: `class_1/` and its `mask_path`, `class_2/` ..."""
    if sample.mask_file is None:
        return []
    return [PurePosixPath(f"class_{number}") / sample.mask_file for number in range(1, sample.num_classes)]


def write_soft_masks(folder: Path, sample: Sample, prediction: MaskPrediction | BlankMask) -> tuple[MaskFile, ...]:
    """Write a PNG per class but the background, of native size: 255 is a probability of 1. Return what was written.

    A blank mask has no probabilities; its files are zeros. Raises PathError if a link leads out of `folder`, OSError if
    a file cannot be written.
    """
    files = soft_mask_files(sample)
    if isinstance(prediction, BlankMask):
        images: Iterable[Iterable[bytes]] = [_blank_png(prediction.width, prediction.height) for _ in files]
    elif prediction.soft is not None:
        images = ([_png(eight_bit(plane))] for plane in prediction.soft)
    else:
        raise ValueError(f"{sample.row} has no soft mask")
    return tuple(_write_png(folder, file, chunks) for file, chunks in zip(files, images, strict=True))


def eight_bit(probabilities: npt.NDArray[np.float16]) -> npt.NDArray[np.uint8]:
    """(H, W) in 0..1 -> 0..255."""
    # Eight bits: a step of 0.004 is finer than the probabilities of any network are right, and sixteen bits take
    # several times the room, most of it for digits that mean nothing.
    return np.asarray(np.rint(probabilities * np.float16(255)), np.uint8)


def write_json(output_dir: Path, entries: Callable[[TaskKind], Iterable[JsonObject]]) -> None:
    """Write the three JSON files; `entries` returns the objects of a kind in order. Without any, the list is empty."""
    for kind, name in JSON_FILES.items():
        write_atomically(output_file(output_dir, PurePosixPath(name)), _json_list(entries(kind)))


def entry(sample: Sample, prediction: Prediction) -> JsonObject:
    """Return the JSON object of one answer."""
    head: dict[str, Any] = {"image_path": sample.image_path, "task_id": sample.task_id}
    match prediction:
        case ClassPrediction():
            return head | {
                "predicted_class": prediction.predicted_class,
                "predicted_probs": list(prediction.probabilities),
            }
        case BoxPrediction():
            return head | {"bbox_normalized": list(prediction.normalized), "bbox_pixels": list(prediction.pixels)}
        case PointsPrediction():
            return head | {
                "predicted_points_normalized": list(prediction.normalized),
                "predicted_points_pixels": list(prediction.pixels),
            }
        case _:
            raise TypeError(f"{type(prediction).__name__} is written to a file of its own")


def _write_png(folder: Path, file: PurePosixPath, chunks: Iterable[bytes]) -> MaskFile:
    # Waiting for the disk after every mask takes longer than the network. The CRC-32 in the journal finds a mask that a
    # power cut damaged, and the run writes it again.
    size, crc32 = write_atomically(output_file(folder, file), chunks, durable=False)
    return MaskFile(str(file), size, crc32)


def _json_list(entries: Iterable[JsonObject]) -> Iterator[bytes]:
    separator = b"[\n"
    for item in entries:
        yield separator + json.dumps(item, ensure_ascii=False, allow_nan=False).encode()
        separator = b",\n"
    yield b"[]\n" if separator == b"[\n" else b"\n]\n"


def _png(labels: npt.NDArray[np.uint8]) -> bytes:
    """Return (H, W) labels as an 8-bit grey PNG without filters: runs of one value need none."""
    height, width = labels.shape
    lines = np.zeros((height, width + 1), np.uint8)  # a line begins with the number of its filter
    lines[:, 1:] = labels
    compressor = zlib.compressobj(_COMPRESSION, strategy=zlib.Z_RLE)
    packed = compressor.compress(lines.data) + compressor.flush()
    return _PNG + _header(width, height) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _blank_png(width: int, height: int) -> Iterator[bytes]:
    """Yield an 8-bit grey PNG of zeros; only one row is in memory."""
    yield _PNG + _header(width, height)
    compressor, row = zlib.compressobj(_COMPRESSION), bytes(width + 1)
    for _ in range(height):
        if packed := compressor.compress(row):
            yield _chunk(b"IDAT", packed)
    yield _chunk(b"IDAT", compressor.flush()) + _chunk(b"IEND", b"")


def _header(width: int, height: int) -> bytes:
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
