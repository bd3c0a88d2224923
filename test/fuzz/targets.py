"""One function per target: bytes in, an AssertionError (or any other error) where a promise is broken."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import numpy as np

from challenge.errors import ImageError, ManifestError, PathError
from challenge.imaging import decode as image_reader
from challenge.imaging.decode import decode_file, header_size
from challenge.manifest import Sample, read_manifest, superseded
from challenge.paths import JSON_FILES, UUSIC_JSON_FILE, find_image, inside_root, output_file
from challenge.tasks import CATALOGUE, TaskKind
from challenge.uusic.manifest import read_list
from challenge.uusic.writers import write_json

SEPARATOR = b"\n====\n"
"""Parts one csv file from the next in an input of the manifest target."""
_MANY = 200
_FAST_PIXEL_LIMIT = 1_000_000  # damaged headers ask for large images, which only cost time


def manifest(data: bytes) -> None:
    """Any csv files give one sentence of error, or samples whose masks can all be written, each inside the output."""
    with _folder() as root:
        csv_files = root / "csv_files"
        csv_files.mkdir()
        for number, content in enumerate(data.split(SEPARATOR)[:3]):
            (csv_files / f"{number}.csv").write_bytes(content)
        try:
            found = read_manifest(root)
        except ManifestError as error:
            _one_sentence(str(error), "0.csv", "1.csv", "2.csv")
            return
        for sample in (*found.samples, *found.repeated):
            assert sample.image_path.strip()
            assert sample.task_id
            assert 1 <= sample.num_classes <= 256
            assert sample.row.line > 1
        lost = {sample.row for sample in superseded(found.samples)}
        _write_masks(root / "out", [s for s in found.samples if s.mask_file and s.row not in lost])


def uusic_list(data: bytes) -> None:
    """Any list gives one sentence of error, or samples that can all be answered, each with its own target."""
    with _folder() as root:
        (root / "list.json").write_bytes(data)
        try:
            found = read_list(root / "list.json", CATALOGUE)
        except ManifestError as error:
            _one_sentence(str(error), "list.json")
            return
        _write_masks(root / "out", [s for s in found.samples if s.mask_file])
        assert not (root / "out" / UUSIC_JSON_FILE).exists()
        classified = [s.image_path for s in found.samples if s.kind is TaskKind.CLASSIFICATION]
        (root / "out").mkdir(exist_ok=True)
        write_json(root / "out", lambda _: [{image_path: None} for image_path in classified])
        assert list(json.loads((root / "out" / UUSIC_JSON_FILE).read_text("utf-8"))) == classified


def _write_masks(out: Path, samples: list[Sample]) -> None:
    for sample in samples[:_MANY]:
        target = output_file(out, sample.mask_file or PurePosixPath())
        assert not target.exists(), f"{sample.row}: {target} is written twice"
        target.touch()
    for name in JSON_FILES.values():
        assert not (out / name).exists()


def paths(data: bytes) -> None:
    """Any text is a path inside the folder or refused, reading and writing, links included."""
    text = data.decode("utf-8", "ignore")
    with _folder() as folder:
        root, out, elsewhere = folder / "data", folder / "out", folder / "elsewhere"
        for path in (root / "Segmentation" / "a b.png", root / "csv_files" / "b.PNG", elsewhere / "secret.png"):
            path.parent.mkdir(parents=True)
            path.write_bytes(b"x")
        out.mkdir()
        (out / "link").symlink_to(elsewhere)
        before = _names(elsewhere)
        try:
            relative = inside_root(text)
        except PathError as error:
            _one_sentence(str(error))
            return
        assert os.path.normpath(f"{root}/{relative}").startswith(f"{root}/")
        assert ".." not in relative.parts
        assert inside_root(f"../{relative}/.") == relative
        try:
            assert find_image(root, text).resolve().is_relative_to(root)
        except ImageError as error:
            _one_sentence(str(error))
        try:
            output_file(out, relative).touch()
        except PathError:
            assert relative.parts[0] == "link"
        except OSError as error:
            raise AssertionError(f"{text!r} is accepted but cannot be written") from error
        assert _names(elsewhere) == before


def images(data: bytes) -> None:
    """Any bytes give an ImageError of one sentence, or RGB pixels of the header's size; in this process."""
    image_reader.PIXEL_LIMIT = min(image_reader.PIXEL_LIMIT, _FAST_PIXEL_LIMIT)
    with _folder() as folder:
        path = folder / f"image{_ending(data)}"
        path.write_bytes(data)
        size = header_size(path)
        assert size is None or min(size) >= 0
        try:
            image = decode_file(path)
        except ImageError as error:
            _one_sentence(str(error), path.name)
            return
        assert image.pixels.dtype == np.uint8
        assert image.pixels.shape == (image.size[1], image.size[0], 3)
        assert min(image.size) > 0
        assert size in (None, image.size), f"decoded as {image.size}, but the header says {size}"


def _ending(data: bytes) -> str:
    """NIfTI is recognised by its ending, the others by their content."""
    if data[344:347] == b"n+1":
        return ".nii"
    return ".nii.gz" if data.startswith(b"\x1f\x8b") else ".png"


@contextmanager
def _folder() -> Iterator[Path]:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="fuzz", dir=memory if memory.is_dir() else None)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def _one_sentence(text: str, *beginnings: str) -> None:
    assert text.strip()
    assert not beginnings or text.startswith(beginnings), f"names no file: {text}"
    assert len(text.splitlines()) == 1, f"more than one line: {text!r}"
    assert len(text) < 2000, f"{len(text)} characters long"


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "manifest": manifest,
    "uusic_list": uusic_list,
    "paths": paths,
    "images": images,
}
