"""The true mask of a row in a data folder; scores and pictures read it here."""

from pathlib import Path

from challenge.errors import ImageError, MaskError, PathError
from challenge.masks.true_masks import TrueMask, read_true_mask
from challenge.paths import find_image


class MissingMaskError(MaskError):
    """There is no file where the true mask should be."""


def find_true_mask(data_root: Path, text: str, num_classes: int) -> TrueMask:
    """Return the true mask at `text`, a path below `data_root`.

    Raises MissingMaskError if there is no such file, MaskError, with the reason alone, if the file does not tell its
    classes, and PathError if the path leaves the folder.
    """
    try:
        path = find_image(data_root, text)
    except PathError:
        raise
    except ImageError as error:
        raise MissingMaskError("there is no such file") from error
    try:
        return read_true_mask(path, num_classes)
    except MaskError as error:  # drop the file's name, so that equal reasons can be counted
        raise MaskError(str(error).removeprefix(f"{path.name}: ")) from error
