"""How the losses of several tasks become one."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from challenge.tasks import TaskSpec
from training.config import BalanceConfig


class TaskBalance(nn.Module):
    """Weighs each task's loss: fixed weights of its kind and its own, and, if chosen, a learned uncertainty.

    Uncertainty weighting (arXiv 1705.07115, with the log variance s as parameter): exp(-s) * loss + s. A task whose
    loss is large for good gets a large s and pulls less; s is bounded to -4..4.
    """

    def __init__(self, tasks: Iterable[TaskSpec], config: BalanceConfig) -> None:
        super().__init__()
        specs = list(tasks)
        self._fixed = {s.task_id: config.kinds.get(s.kind, 1.0) * config.tasks.get(s.task_id, 1.0) for s in specs}
        self._index = {spec.task_id: number for number, spec in enumerate(specs)}
        learned = config.method == "uncertainty"
        self.log_variance = nn.Parameter(torch.zeros(len(specs))) if learned else None

    def forward(self, loss: Tensor, task_id: str) -> Tensor:
        """Return the weighted loss of one task."""
        if self.log_variance is None:
            return self._fixed[task_id] * loss
        variance = self.log_variance[self._index[task_id]].clamp(-4, 4)
        return self._fixed[task_id] * (torch.exp(-variance) * loss) + variance
