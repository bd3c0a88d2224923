"""Batches in the sampler's order, prepared ahead by worker processes, each with the sampler's state after it."""

import signal
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from copy import deepcopy
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from training.data.dataset import Batch, Dataset
from training.data.sampling import Draw, TaskSampler
from training.distributed import Ranks

_SECONDS_AFTER_SIGTERM = 30  # a step and its checkpoint take less

Step = tuple[list[Draw], list[Batch], Mapping[str, object]]


def steps(dataset: Dataset, sampler: TaskSampler, ranks: Ranks, workers: int) -> Generator[Step, None, None]:
    """Yield, without end: the draws of a step, this rank's share of their batches, the sampler's state afterwards.

    Workers make the sampler run ahead of what is yielded; a checkpoint must keep the yielded state, not the sampler's.
    """
    ahead: deque[tuple[list[Draw], Mapping[str, object]]] = deque()

    def draws() -> Iterator[list[Draw]]:
        while True:
            drawn = next(sampler)
            ahead.append((drawn, deepcopy(sampler.state_dict())))
            yield drawn

    loader: Any = DataLoader(
        _Shares(dataset, ranks), batch_size=None, sampler=draws(), num_workers=workers, collate_fn=_as_it_is,
        worker_init_fn=_leave_signals_to_the_run,
    )  # fmt: skip
    for batches in loader:
        drawn, state = ahead.popleft()
        yield drawn, batches, state


class _Shares(TorchDataset[list[Batch]]):
    """What a worker does with the draws of a step."""

    def __init__(self, dataset: Dataset, ranks: Ranks) -> None:
        self._dataset, self._ranks = dataset, ranks

    def __getitem__(self, draws: list[Draw]) -> list[Batch]:
        return [self._dataset.share(draw, self._ranks.rank, self._ranks.count) for draw in draws]


def _leave_signals_to_the_run(_: int) -> None:
    """A terminal and a scheduler signal all processes: workers must stay until the run has written its checkpoint.

    They end a while after SIGTERM, because the run itself sends it to workers that it has no more use for.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_SECONDS_AFTER_SIGTERM))


def _as_it_is(batches: list[Batch]) -> list[Batch]:
    return batches
