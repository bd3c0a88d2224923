"""The table of scores: name, unit, which way is better, how a value is printed, and published figures."""

from dataclasses import dataclass
from enum import StrEnum

from challenge.tasks import TaskKind

_DECIMALS = 4


class Column(StrEnum):
    """The two ways of counting rows, shown side by side everywhere."""

    OFFICIAL = "official"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class Metric:
    """One score. `name` is the official script's key.

    `baseline` is what the organisers report for their baseline on the official validation set, `participant` what
    a later participant's public repository reports on the same set (contract, section 1.6); None if unpublished.
    """

    name: str
    short: str
    title: str
    kind: TaskKind
    higher_is_better: bool = True
    unit: str = ""
    baseline: float | None = None
    participant: float | None = None

    def text(self, value: float | None, *, signed: bool = False) -> str:
        """Return a value as tables show it: four decimals, two for pixels, `n/a` for None."""
        if value is None:
            return "n/a"
        return f"{value:{'+' if signed else ''}.{2 if self.unit else _DECIMALS}f}"

    def brief(self, value: float, *, unit: bool = True) -> str:
        """Return a value with one decimal less, as beside pictures and in a model card: `0.853`, `12.4 px`."""
        number = f"{value:.{1 if self.unit else _DECIMALS - 1}f}"
        return f"{number} {self.unit}" if self.unit and unit else number

    def range_text(self, low: float, high: float) -> str:
        """Return an interval with one decimal less."""
        return f"{self.brief(low, unit=False)}\u200a\u2013\u200a{self.brief(high, unit=False)}"


METRICS: tuple[Metric, ...] = (
    Metric("DSC", "Dice", "Dice", TaskKind.SEGMENTATION, baseline=0.7543, participant=0.8928),
    Metric("HD", "HD", "Hausdorff distance", TaskKind.SEGMENTATION, False, "px", baseline=81.18, participant=30.06),
    Metric("AUC", "AUC", "ROC AUC", TaskKind.CLASSIFICATION, baseline=0.9155, participant=0.919),
    Metric("F1_macro", "F1", "F1 (macro)", TaskKind.CLASSIFICATION, baseline=0.7896, participant=0.8213),
    Metric("F1_weighted", "F1w", "F1 (weighted)", TaskKind.CLASSIFICATION),
    Metric("MCC", "MCC", "Matthews correlation", TaskKind.CLASSIFICATION, baseline=0.6766, participant=0.7217),
    Metric("Accuracy", "Acc", "Accuracy", TaskKind.CLASSIFICATION, participant=0.8345),
    Metric("IoU", "IoU", "Intersection over union", TaskKind.DETECTION, baseline=0.2641, participant=0.7646),
    Metric("MRE", "MRE", "Mean radial error", TaskKind.REGRESSION, False, "px", baseline=67.43, participant=31.98),
)
"""Every score of FMC_UIA 2026, the headline of each kind first."""

UUSIC_METRICS: tuple[Metric, ...] = (
    Metric("DSC", "Dice", "Dice", TaskKind.SEGMENTATION),
    Metric("NSD", "NSD", "Surface Dice at 1 px", TaskKind.SEGMENTATION),
    Metric("AUC", "AUC", "ROC AUC", TaskKind.CLASSIFICATION),
    Metric("Accuracy", "Acc", "Accuracy", TaskKind.CLASSIFICATION),
)
"""The scores of UUSIC 2025."""


def metrics_of(kind: TaskKind, profile: str = "fmc") -> tuple[Metric, ...]:
    """Return the scores of a kind in a profile (challenge), its headline first."""
    metrics = UUSIC_METRICS if profile == "uusic" else METRICS
    return tuple(metric for metric in metrics if metric.kind is kind)


def headline(kind: TaskKind, profile: str = "fmc") -> Metric:
    """Return the first score of a kind, which stands for it where only one is shown."""
    return metrics_of(kind, profile)[0]


def part_text(name: str, value: float | None) -> str:
    """Return a score per class or point as it is printed. F1 per class is not in the table; it has no unit."""
    known = next(
        (metric for metric in METRICS if metric.name == name), Metric(name, name, name, TaskKind.CLASSIFICATION)
    )
    return known.text(value)
