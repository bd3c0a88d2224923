"""Does the frozen network answer as the trained one?"""

from pathlib import Path

import numpy as np
import torch

from challenge.errors import UserError
from model.frozen.metadata import WeightsMetadata
from model.frozen.router import Router
from model.frozen.runtimes.onnx import OnnxRuntime
from model.networks.system import System

_IMAGES = 3  # another number than the exporter saw
_TOLERANCE = 1e-3
"""Largest difference, relative to the task's largest value: float32 sums in another order."""


@torch.no_grad()
def check_parity(network: System, facts: WeightsMetadata, folder: Path) -> float:
    """Compare the graphs in `folder` with `network` (in eval mode, on the CPU) for every task, on noise.

    Return the largest relative difference. Raises UserError, naming the task, where they differ.
    """
    router = Router(facts, OnnxRuntime(folder, facts.graphs, "cpu"))
    size = facts.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (_IMAGES, size, size, 3), dtype=np.uint8)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (facts.mean, facts.std))
    images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std
    worst = 0.0
    expected = network.answers(images, facts.tasks)
    for task_id, _, frozen in router.run(pixels, [list(facts.tasks)] * _IMAGES):
        truth = expected[task_id].numpy()
        difference = float(np.abs(frozen - truth).max() / max(1.0, np.abs(truth).max()))
        if not difference <= _TOLERANCE:
            raise UserError(
                f"{task_id}: the exported graph differs from the network by {difference:.2g}; "
                "do not use this export, and report it as a bug"
            )
        worst = max(worst, difference)
    return worst
