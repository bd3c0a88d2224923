"""Errors that a user can act on. Each message is one sentence: what, which row or file, what to do."""


class UserError(Exception):
    """An error that the user can correct, in usage, manifest or weights. Command lines end with exit code 2."""


class ManifestError(UserError):
    """An unusable manifest; the message names file and line."""


class PathError(ManifestError):
    """A path that is empty or malformed, or that leaves its folder."""


class WeightsError(UserError):
    """A weights folder that is missing, incomplete, altered or too new."""


class ImageError(Exception):
    """An unreadable image. Its rows get the fallback and the run continues."""


class MaskError(Exception):
    """A true mask that is unreadable, or whose values do not clearly give the classes."""
