"""Several processes as one: each rank takes a share of every batch, and the loss is that of the whole batch.

Shares may be uneven: a rank without rows computes row 0 again, which then counts in no loss.

The raw outputs are gathered before the loss, so a loss that does not split over rows (Dice over the batch, focal
losses normalised by their positives) is the same on one process and on many. Gradients are summed by hand once per
step instead of by DistributedDataParallel: a step touches a few heads out of many, several batches are accumulated,
and this way no rank ever waits for a head that was not used.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Ranks:
    """This process (`rank` of `count`, `local` on its machine) among those that torchrun started; alone by default."""

    rank: int = 0
    count: int = 1
    local: int = 0

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.count > 1:
            dist.barrier()

    def agree(self, value: float) -> float:
        """Return the first rank's value, on every rank."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0)
        return values[0]

    def highest(self, value: int) -> int:
        """Return the highest of all ranks' values, on every rank."""
        if self.count == 1:
            return value
        values = torch.tensor(value, device="cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return int(values)

    def part(self, rows: int) -> float:
        """Return the part of a batch of `rows` rows that is this rank's own: 0 if there are too few rows for it."""
        return len(range(self.rank, rows, self.count)) / rows

    def gather_rows(self, own: Tensor, rows: int) -> Tensor:
        """Return the whole batch of `rows` rows from the ranks' shares (`Draw.share`); own rows keep their graph."""
        if self.count == 1:
            return own
        longest = -(-rows // self.count)
        padded = torch.cat([own, own[-1:].expand(longest - len(own), *own.shape[1:])]) if len(own) < longest else own
        parts = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(parts, padded.detach().contiguous())
        parts[self.rank] = padded
        whole = torch.stack(parts, dim=1).flatten(0, 1)[:rows]
        # A rank whose row is only padding still needs a graph to go back through.
        return whole + 0 * own.sum() if own.requires_grad else whole

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add up the gradients of all ranks, in place.

        A parameter that only some ranks used, such as an expert that none of a rank's images chose, counts as 0 there.
        """
        every = list(parameters)
        if self.count == 1 or not every:
            return
        used = torch.tensor([p.grad is not None for p in every], dtype=torch.uint8, device=every[0].device)
        dist.all_reduce(used, dist.ReduceOp.MAX)
        gradients = [_gradient(p) for p, is_used in zip(every, used.tolist(), strict=True) if is_used]
        if not gradients:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        for gradient, part in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def join_ranks() -> Ranks:
    """Join the processes that torchrun started (NCCL with GPUs, else gloo); alone if it started none."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Ranks()
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
    if not dist.is_initialized():
        # The others wait while the first rank fills the image cache, and while it scores.
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=6))
    return Ranks(dist.get_rank(), count, local)


def leave_ranks() -> None:
    """Undo `join_ranks` at the end of a program."""
    if dist.is_initialized():
        dist.destroy_process_group()
