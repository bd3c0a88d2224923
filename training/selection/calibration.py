"""Temperature scaling of a trained run's classes (Guo et al. 2017, arXiv 1706.04599), fitted on its dev rows.

One number per task divides the logits, so that a probability of 0.8 is right in about 80 of 100 cases. It changes
neither the predicted class nor the order of the images, so no official score changes. A temperature is kept only if, in
five-fold cross-validation over patients, it lowers the left-out cross-entropy by more than one standard error, and only
if there are `LEAST_ROWS` rows and `LEAST_OF_CLASS` of every class.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from challenge import targets
from challenge.errors import UserError
from challenge.manifest import Sample
from challenge.tasks import TaskKind
from model.networks.system import System
from training.augmentation.augment import normalise
from training.config import DataConfig
from training.data.rows import DataSource, Part
from training.data.split import folds
from training.run_folder.trainable import load_network
from training.selection.run_scores import other_rows, own_rows
from training.text_files import write_text

logger = logging.getLogger(__name__)

FILE = "temperatures.json"
HOLDS, HOLDS_NOT, TOO_FEW = "yes", "no", "no: too few rows"
_BATCH = 16
_BINS = 15
_RANGE = (0.2, 5.0)
_FOLDS = 5

LEAST_ROWS = 50
LEAST_OF_CLASS = 5
"""With fewer rows, one or two confident mistakes decide the temperature."""


@dataclass(frozen=True)
class Calibration:
    """A task's temperature, if it is `kept`, and the expected calibration error on some rows without and with it.

    `verdict` says why in a few words.
    """

    task_id: str
    rows: int
    temperature: float
    kept: bool
    before: float
    after: float
    verdict: str

    def text(self, part: str) -> str:
        """Return a table row (Markdown) for the rows called `part`."""
        errors = f"{self.before:.3f} | {self.after:.3f}"
        return f"| {self.task_id}, {part} | {self.rows} | {self.temperature:.2f} | {self.verdict} | {errors} |"


class Tempered(nn.Module):
    """A head whose logits are divided by a temperature."""

    def __init__(self, head: nn.Module, temperature: float) -> None:
        super().__init__()
        self.head, self.temperature = head, temperature

    def forward(self, *features: Tensor) -> Tensor:
        """Return the head's logits, tempered."""
        logits: Tensor = self.head(*features)
        return logits / self.temperature


def calibrate(run: Path, source: DataSource) -> Iterator[Calibration]:
    """Fit a temperature for every classification task on the run's own dev rows; write those that are kept.

    Yields what was found, in the order of the tasks' names; then `run/temperatures.json` is there. Raises UserError if
    `source` does not hold the run's dev rows.
    """
    network, state = load_network(run)
    kept = {}
    for task_id, samples, logits, labels in _logits(network, own_rows(source, state), state.config.data):
        temperature = fit_temperature(logits, labels)
        verdict = _verdict(samples, logits, labels)
        if verdict == HOLDS:
            kept[task_id] = temperature
        yield _calibration(task_id, logits, labels, temperature, verdict)
    write_text(run / FILE, json.dumps(kept, indent=1) + "\n")


def check_calibration(run: Path, source: DataSource, found: Sequence[Calibration]) -> Iterator[Calibration]:
    """Measure the temperatures on the rows of `source.val_root`, unless these are the dev rows they were fitted on."""
    network, state = load_network(run)
    held_out = other_rows(source, state)
    if held_out is None:
        return
    fitted = {one.task_id: one for one in found}
    for task_id, _, logits, labels in _logits(network, held_out, state.config.data):
        if task_id in fitted:
            yield _calibration(task_id, logits, labels, fitted[task_id].temperature, fitted[task_id].verdict)


def read_temperatures(run: Path) -> dict[str, float]:
    """Return the temperatures by task; empty if the run was not calibrated. Raises UserError if they are no numbers."""
    if not (run / FILE).is_file():
        return {}
    try:
        return {task_id: float(value) for task_id, value in json.loads((run / FILE).read_text("utf-8")).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{run / FILE} is damaged ({error}); run `python -m training calibrate` again") from error


def temper(network: System, temperatures: Mapping[str, float]) -> None:
    """Make the heads of `network` divide their logits by the temperatures, by task. Changes `network`."""
    for task_id, temperature in temperatures.items():
        name = network.paths[task_id][-1]
        stage = network.stages[name]
        network.stages[name] = replace(stage, module=Tempered(stage.module, temperature).eval())


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """(N, K) logits and (N,) labels -> the temperature in 0.2..5 with the least cross-entropy.

    The cross-entropy is convex in 1 / T, so ever smaller intervals of it enclose the minimum.
    """
    low, high = 1 / _RANGE[1], 1 / _RANGE[0]
    while high - low > 1e-4:
        third = (high - low) / 3
        if F.cross_entropy(logits * (low + third), labels) < F.cross_entropy(logits * (high - third), labels):
            high -= third
        else:
            low += third
    return 2 / (low + high)


def are_enough(labels: Tensor, num_classes: int) -> bool:
    """Whether (N,) labels are enough to fit a temperature: `LEAST_ROWS`, and `LEAST_OF_CLASS` of every class."""
    return len(labels) >= LEAST_ROWS and int(labels.bincount(minlength=num_classes).min()) >= LEAST_OF_CLASS


def _verdict(samples: Sequence[Sample], logits: Tensor, labels: Tensor) -> str:
    if not are_enough(labels, logits.shape[1]):
        return TOO_FEW
    return HOLDS if holds_for_others(samples, logits, labels) else HOLDS_NOT


def holds_for_others(samples: Sequence[Sample], logits: Tensor, labels: Tensor) -> bool:
    """Whether temperatures fitted on four fifths of the patients lower the cross-entropy of the others.

    The gain, a mean over the five fifths, must be larger than its standard error. (N, K) logits and (N,) labels.
    """
    gains = []
    for _, others in folds(samples, _FOLDS, seed=0):
        chosen = {id(sample) for sample in others}
        held = torch.tensor([id(sample) in chosen for sample in samples])
        if held.any() and not held.all():
            temperature = fit_temperature(logits[~held], labels[~held])
            plain, tempered = (F.cross_entropy(logits[held] / t, labels[held]) for t in (1.0, temperature))
            gains.append(float(plain - tempered))
    if len(gains) < 2:
        return False
    spread = torch.tensor(gains).std() / len(gains) ** 0.5
    return sum(gains) / len(gains) > float(spread)


def expected_calibration_error(probabilities: Tensor, labels: Tensor) -> float:
    """(N, K) and (N,) -> mean over 15 equal bins of confidence of |accuracy - confidence|, weighted by their rows."""
    confidence, predicted = probabilities.max(dim=1)
    right = (predicted == labels).double()
    bins = (confidence * _BINS).long().clamp(max=_BINS - 1)
    gaps = [(right[bins == b].sum() - confidence[bins == b].double().sum()).abs() for b in range(_BINS)]
    return float(torch.stack(gaps).sum() / len(labels))


def _calibration(task_id: str, logits: Tensor, labels: Tensor, temperature: float, verdict: str) -> Calibration:
    before, after = (expected_calibration_error((logits / t).softmax(dim=1), labels) for t in (1.0, temperature))
    return Calibration(task_id, len(labels), temperature, verdict == HOLDS, before, after, verdict)


@torch.no_grad()
def _logits(network: System, part: Part, data: DataConfig) -> Iterator[tuple[str, list[Sample], Tensor, Tensor]]:
    """Yield every classification task with its rows, their (N, K) logits and (N,) labels."""
    for task_id in sorted({s.task_id for s in part.samples if s.kind is TaskKind.CLASSIFICATION}):
        samples = [sample for sample in part.samples if sample.task_id == task_id]
        logits = []
        for start in range(0, len(samples), _BATCH):
            pixels = [torch.from_numpy(part.store.image(sample)) for sample in samples[start : start + _BATCH]]
            images = normalise(torch.stack(pixels).permute(0, 3, 1, 2), data.mean, data.std)
            logits.append(network(images, task_id))
        yield task_id, samples, torch.cat(logits), torch.tensor([targets.label(sample) for sample in samples])
