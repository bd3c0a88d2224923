"""The official FMC_UIA 2026 baseline, from its description, on segmentation-models-pytorch; key names as published.

Randomly initialised it hardly reacts to the image, so a comparison with it would prove nothing: `reacting_baseline`
makes one that does. Its pre- and post-processing are here too, with OpenCV.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import segmentation_models_pytorch as smp
import torch
from phantoms import TASKS
from torch import Tensor, nn

from challenge.imaging.decode import read_image
from challenge.manifest import read_manifest
from challenge.paths import find_image
from challenge.tasks import TaskKind, TaskSpec

SIZE = 256
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)


class _Classification(nn.Module):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.head = smp.base.ClassificationHead(channels, classes, pooling="avg", dropout=0.2)

    def forward(self, deepest: Tensor) -> Tensor:
        logits: Tensor = self.head(deepest)
        return logits


class _Regression(nn.Module):
    def __init__(self, channels: int, points: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 2 * points)

    def forward(self, deepest: Tensor) -> Tensor:
        points: Tensor = self.linear(deepest.mean(dim=(2, 3)))
        return points


class _Detection(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.Conv2d(channels, 128, 3, padding=1, bias=False), nn.BatchNorm2d(128), nn.ReLU()]
            channels = 128
        self.conv_block = nn.Sequential(*layers, nn.Conv2d(128, 5, 1))

    def forward(self, dense: Tensor) -> Tensor:
        box, objectness = self.conv_block(dense).split((4, 1), dim=1)
        return torch.cat([box.sigmoid(), objectness], dim=1)


class OfficialBaseline(nn.Module):
    """EfficientNet-B4, FPN, one head per task; (B, 3, 256, 256) float32 and a task -> raw output."""

    def __init__(self, tasks: Iterable[TaskSpec]) -> None:
        super().__init__()
        tasks = tuple(tasks)
        fpn = smp.FPN("efficientnet-b4", encoder_weights=None)
        self.encoder = fpn.encoder
        self.fpn_decoder = fpn.decoder
        self.tasks: Mapping[str, TaskSpec] = {spec.task_id: spec for spec in tasks}
        self.heads = nn.ModuleDict({spec.task_id: self._head(spec) for spec in tasks})

    def _head(self, spec: TaskSpec) -> nn.Module:
        deep, dense = self.encoder.out_channels[-1], self.fpn_decoder.out_channels
        match spec.kind:
            case TaskKind.SEGMENTATION:
                return smp.base.SegmentationHead(dense, spec.num_classes, kernel_size=1, upsampling=4)
            case TaskKind.CLASSIFICATION:
                return _Classification(deep, spec.num_classes)
            case TaskKind.DETECTION:
                return _Detection(dense)
            case TaskKind.REGRESSION:
                return _Regression(deep, spec.num_classes)

    def features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, 256, 256) -> the encoder's deepest map and the pyramid's map."""
        maps = self.encoder(images)
        return maps[-1], self.fpn_decoder(maps)

    def answer(self, task_id: str, deepest: Tensor | None, dense: Tensor) -> Tensor:
        """The output of the task's head for `features`."""
        output: Tensor = self.heads[task_id](dense if self.tasks[task_id].kind.is_dense else deepest)
        return output

    def forward(self, images: Tensor, task_id: str) -> Tensor:
        """(B, 3, 256, 256) float32, normalised -> (B, K, 256, 256), (B, K), (B, 5, 64, 64) or (B, 2M)."""
        return self.answer(task_id, *self.features(images))


def reacting_baseline(tasks: Iterable[TaskSpec], images: Tensor, seed: int = 0) -> OfficialBaseline:
    """Return a random baseline in eval mode whose answers depend on the image.

    Batch norm takes its statistics from one training-mode pass over `images` (B, 3, 256, 256). Over them every class
    logit, of masks too, has the mean 0, so that no class is everywhere; class heads are scaled to a spread of 1 and
    point heads to one of 0.2 around the centre.
    """
    torch.manual_seed(seed)
    network = OfficialBaseline(tasks)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the plain average: the statistics of this one pass
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.1)
    with torch.no_grad():
        network.train()
        _, dense = network.features(images)
        for task_id, spec in network.tasks.items():
            if spec.kind is TaskKind.DETECTION:
                network.answer(task_id, None, dense)
        network.eval()
        deepest, dense = network.features(images)
        for task_id, spec in network.tasks.items():
            last = [module for module in network.heads[task_id].modules() if hasattr(module, "bias")][-1]
            match spec.kind:
                case TaskKind.SEGMENTATION:
                    last.bias -= network.answer(task_id, deepest, dense).mean(dim=(0, 2, 3))
                case TaskKind.CLASSIFICATION:
                    _spread(last, deepest, centre=0.0, spread=1.0)
                case TaskKind.REGRESSION:
                    _spread(last, deepest, centre=0.5, spread=0.2)
    return network


def _spread(linear: nn.Module, deepest: Tensor, centre: float, spread: float) -> None:
    """Give every output of `linear` this mean over the batch, and about this standard deviation.

    The scale comes from the features of all channels: that of one output over a few images is chance.
    """
    features = deepest.mean(dim=(2, 3))
    linear.weight *= spread / (linear.weight.norm(dim=1, keepdim=True) * features.var(dim=0).mean().sqrt())
    linear.bias.copy_(centre - (features @ linear.weight.T).mean(dim=0))


@cache
def baseline_for(data_root: Path) -> OfficialBaseline:
    """Return `reacting_baseline` for the phantoms' 29 tasks and eight of the data folder's images."""
    paths = sorted({sample.image_path for sample in read_manifest(data_root, TASKS).samples})
    chosen = [paths[i * len(paths) // 8] for i in range(8)]
    images = [preprocess(read_image(find_image(data_root, path)).pixels) for path in chosen]
    return reacting_baseline(TASKS.values(), torch.stack(images))


def preprocess(rgb: npt.NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 -> (3, 256, 256) float32: OpenCV's INTER_LINEAR, /255, ImageNet mean and std."""
    resized = cv2.resize(rgb, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    normalised = (resized.astype(np.float32) / np.float32(255) - MEAN) / STD
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))


def mask(output: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.uint8]:
    """(K, 256, 256) logits -> (height, width) uint8: arg max, then OpenCV's INTER_NEAREST."""
    labels = output.argmax(axis=0).astype(np.uint8)
    return np.asarray(cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def probabilities(output: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(K,) logits -> (K,) softmax."""
    powers = np.exp(output - output.max())
    return np.asarray(powers / powers.sum(), np.float32)


def box(output: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    """(5, 64, 64) -> (4,) x0, y0, x1, y1 in native pixels, raw, of the cell with the highest objectness."""
    row, column = np.unravel_index(output[4].argmax(), output[4].shape)
    return np.asarray(output[:4, row, column] * (width, height, width, height), np.float32)


def points(output: npt.NDArray[np.float32], width: int, height: int) -> npt.NDArray[np.float32]:
    """(2M,) -> (2M,) x1, y1, ... in native pixels, raw."""
    return np.asarray(output.reshape(-1, 2) * (width, height), np.float32).ravel()
