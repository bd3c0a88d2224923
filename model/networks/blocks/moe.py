"""Task-conditioned mixture of experts per token (M2DINO, arXiv 2603.18123; the sizes are ours, see `M2DINO`)."""

from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MixtureOfExperts(nn.Module):
    """Replaces a feed-forward network by `num_experts` copies of it; each token uses `chosen` of them.

    The router sees the token and the task's embedding. The gates of the chosen experts are renormalised to sum 1, so
    equal copies give the same output as the original. `jitter` makes the copies differ: each weight is multiplied by
    1 + jitter * N(0, 1).
    """

    def __init__(self, ffn: nn.Module, width: int, task_width: int, num_experts: int, chosen: int, jitter: float = 0.0):
        super().__init__()
        self.chosen = chosen
        self.experts = nn.ModuleList(deepcopy(ffn) for _ in range(num_experts))
        self.router = nn.Linear(width + task_width, num_experts)
        self.balance: Tensor | None = None
        self.jitter = jitter
        self.spread()

    def spread(self) -> None:
        """Make equal experts differ by `jitter`."""
        if self.jitter:
            with torch.no_grad():
                for parameter in self.experts.parameters():
                    parameter.mul_(1 + self.jitter * torch.randn_like(parameter))

    def route(self, tokens: Tensor, task: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, D) tokens and (B, D_t) task embeddings -> gates and expert numbers (B, N, k), probabilities (B, N, E).

        Always in float32, because rounding would change the choice of experts.
        """
        with torch.autocast(tokens.device.type, enabled=False):
            seen = torch.cat([tokens, task[:, None].expand(-1, tokens.shape[1], -1)], dim=2).float()
            probabilities = self.router(seen).softmax(dim=2)
            gates, experts = probabilities.topk(self.chosen, dim=2)
            return gates / gates.sum(dim=2, keepdim=True), experts, probabilities

    def forward(self, tokens: Tensor, task: Tensor) -> Tensor:
        """(B, N, D) tokens and (B, D_t) task embeddings -> (B, N, D)."""
        gates, experts, probabilities = self.route(tokens, task)
        if self.training:
            self.balance = balance_loss(probabilities, experts)
        if torch.onnx.is_in_onnx_export():
            return self.dense(tokens, gates, experts)
        return self.sparse(tokens, gates, experts)

    def sparse(self, tokens: Tensor, gates: Tensor, experts: Tensor) -> Tensor:
        """Compute with every expert only the tokens that chose it."""
        flat = tokens.flatten(0, 1)
        result = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            rows, place = (experts.flatten(0, 1) == number).nonzero(as_tuple=True)
            if len(rows):
                weighted = expert(flat[rows]) * gates.flatten(0, 1)[rows, place, None]
                result = result.index_add(0, rows, weighted.to(result.dtype))
        return result.view_as(tokens)

    def dense(self, tokens: Tensor, gates: Tensor, experts: Tensor) -> Tensor:
        """Compute every token with every expert: the same numbers, but no data-dependent sizes (for ONNX)."""
        result = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            weight = (gates * (experts == number)).sum(dim=2, keepdim=True)
            result = result + weight.to(tokens.dtype) * expert(tokens)
        return result


def balance_loss(probabilities: Tensor, experts: Tensor) -> Tensor:
    """E * sum over experts of mean probability times share of tokens; 1 if all are used evenly.

    Switch Transformers (arXiv 2101.03961), equation 4. `probabilities` (B, N, E), `experts` (B, N, k).
    """
    number = probabilities.shape[2]
    load = F.one_hot(experts, number).float().mean(dim=(0, 1, 2))
    return number * (probabilities.mean(dim=(0, 1)) * load).sum()
