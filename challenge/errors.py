"""Errors that a user can act on. Each message is one sentence: what, which row or file, what to do."""


class UserError(Exception):
    """Something the user can mend: usage, manifest or weights. Command lines end with exit code 2."""


class ManifestError(UserError):
    """A manifest that cannot be used, with its file and line."""


class PathError(ManifestError):
    """A path that is empty, malformed or leaves the folder that it must stay in."""


class WeightsError(UserError):
    """A weights folder that is missing, incomplete, altered or too new."""


class ImageError(Exception):
    """An image that cannot be read. The row gets the fallback; the run goes on."""


class MaskError(Exception):
    """A true mask that cannot be read, or whose values do not tell the classes for certain."""
