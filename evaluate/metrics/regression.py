"""Radial errors of keypoints, whose mean is the MRE (contract, section 1.5)."""

import numpy as np
import numpy.typing as npt

from evaluate.metrics.weighting import Floats


def radial_errors(prediction: npt.ArrayLike, truth: npt.ArrayLike) -> Floats:
    """Return the Euclidean distances (..., N) of points (..., N, 2) in the same pixels; NaN where a point is NaN.

    The mean over the points is an image's radial error, the mean of that over the images the task's MRE.
    """
    difference = np.asarray(prediction, np.float64) - np.asarray(truth, np.float64)
    return np.asarray(np.sqrt((difference**2).sum(axis=-1)))
