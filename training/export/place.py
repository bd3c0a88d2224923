"""Puts finished weights into the folder where they are wanted, in the place of earlier ones."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from challenge.errors import WeightsError
from model.frozen.metadata import FILE, read_metadata
from training.export import model_card
from training.run_folder import trainable
from training.run_folder.provenance import LICENCE_FILE


def clear(output: Path) -> None:
    """Remove the networks of the weights in `output`: the new ones may have other graphs, or fewer networks."""
    for path in list(_files(output)):
        if path.resolve().is_relative_to(output.resolve()):
            path.unlink(missing_ok=True)
            if path.parent != output:
                with suppress(OSError):  # something else lies there
                    path.parent.rmdir()


def move(folder: Path, output: Path) -> None:
    """Move every file into place, `output/weights.json` last: until then a reader sees that its hashes do not fit."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: (path.name == FILE, path == folder / FILE)):
        target = output / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)


def _files(output: Path) -> Iterator[Path]:
    """Yield the graphs of the weights in `output`, then what else a member of an ensemble has."""
    try:
        metadata = read_metadata(output)
    except WeightsError:
        return
    yield from (output / graph.file for graph in metadata.graphs.values())
    for member in metadata.members:
        yield from (output / member.folder / name for name in (trainable.FILE, model_card.FILE, LICENCE_FILE, FILE))
