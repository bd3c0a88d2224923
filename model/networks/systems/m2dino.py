"""M2DINO (arXiv 2603.18123): a DINOv3 ViT whose deeper half routes tokens to experts by token and task.

We did not have the paper's full text, so the sizes of backbone and mixture are ours: ViT-S/16, 4 experts of which 2
are used, task embeddings of width 64, gates renormalised, experts that start as copies of the pretrained FFN, all
tokens routed. This backbone has 42,867,672 parameters. The decoder is a light DPT. The heads are the baseline's; global
heads pool the patch tokens.
"""

from collections.abc import Mapping, Sequence
from math import isqrt
from typing import Any

import timm
import torch
from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import TaskSpec
from model.networks.blocks.moe import MixtureOfExperts
from model.networks.decoders.dpt import DPT
from model.networks.heads.pooled import make_head
from model.networks.system import DECODER, ENCODER, IMAGES, OUTPUT, TASK, Stage, System, head_stage


def _to_map(tokens: Tensor, prefix: int) -> Tensor:
    """(B, prefix + h * h, D) tokens -> (B, D, h, h)."""
    side = isqrt(int(tokens.shape[1]) - prefix)
    return torch.unflatten(tokens[:, prefix:].transpose(1, 2), 2, (side, side))


class Trunk(nn.Module):
    """Patch embedding and the first half of the layers, which do not depend on the task."""

    def __init__(self, vit: Any, depth: int) -> None:
        super().__init__()
        self.vit = vit
        vit.blocks, vit.norm = vit.blocks[:depth], nn.Identity()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) -> tokens (B, prefix + (S / 16)^2, D) halfway and at the end of the trunk."""
        tokens, rope = self.vit._pos_embed(self.vit.patch_embed(images))
        tokens = self.vit.norm_pre(tokens)
        halfway = tokens
        for number, block in enumerate(self.vit.blocks, 1):
            tokens = block(tokens, rope=rope)
            if number == len(self.vit.blocks) // 2:
                halfway = tokens
        return halfway, tokens


class ExpertLayers(nn.Module):
    """The second half of the layers, with mixtures of experts instead of FFNs, and the final norm."""

    def __init__(
        self, vit: Any, depth: int, num_tasks: int, task_width: int, experts: int, chosen: int, jitter: float
    ) -> None:
        super().__init__()
        self.prefix: int = vit.num_prefix_tokens
        self.rope, self.norm = vit.rope, vit.norm
        self.blocks = nn.ModuleList(vit.blocks[depth:])
        self.task_embedding = nn.Embedding(num_tasks, task_width)
        for block in self.blocks:
            ffn = block.get_submodule("mlp")
            block.mlp = MixtureOfExperts(ffn, vit.embed_dim, task_width, experts, chosen, jitter)

    def tokens(self, tokens: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Return the tokens halfway, and at the end after the final norm."""
        side = isqrt(int(tokens.shape[1]) - self.prefix)
        rope = self.rope.get_embed(shape=(side, side))
        embedding = self.task_embedding(task)
        halfway = tokens
        for number, block in enumerate(self.blocks, 1):
            tokens = self._block(block, tokens, rope, embedding)
            if number == len(self.blocks) // 2:
                halfway = tokens
        return halfway, self.norm(tokens)

    @staticmethod
    def _block(block: Any, tokens: Tensor, rope: Tensor, embedding: Tensor) -> Tensor:
        """timm's EvaBlock, with an FFN that gets the task embedding."""
        attended = block.attn(block.norm1(tokens), rope=rope)
        tokens = tokens + block.drop_path1(attended if block.gamma_1 is None else block.gamma_1 * attended)
        mixed = block.mlp(block.norm2(tokens), embedding)
        result: Tensor = tokens + block.drop_path2(mixed if block.gamma_2 is None else block.gamma_2 * mixed)
        return result

    def forward(self, tokens: Tensor, task: Tensor) -> tuple[Tensor, Tensor]:
        """Trunk tokens and (B,) task indices -> two maps (B, D, S / 16, S / 16), the last one after the final norm."""
        halfway, last = self.tokens(tokens, task)
        return _to_map(halfway, self.prefix), _to_map(last, self.prefix)


class TokenDPT(nn.Module):
    """DPT on two depths of trunk tokens and two expert maps."""

    def __init__(self, prefix: int, width: int, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.prefix = prefix
        self.decoder = DPT(width, widths, channels)

    def forward(self, early: Tensor, trunk: Tensor, late: Tensor, last: Tensor) -> Tensor:
        """Return (B, channels, S / 4, S / 4)."""
        decoded: Tensor = self.decoder(_to_map(early, self.prefix), _to_map(trunk, self.prefix), late, last)
        return decoded


class M2DINO(System):
    """Task-conditioned mixture of experts on timm's DINOv3 ViT.

    `encoder`: a timm DINOv3 ViT with `encoder_options` for its constructor; all tasks share the first half of its
    layers. `balance_weight` is the weight of the experts' balance loss. `jitter` makes the experts differ at the start;
    without it they differ only through routing. The number of tasks fixes the shape of the task embedding.
    """

    def __init__(
        self,
        tasks: Sequence[TaskSpec],
        encoder: str = "vit_small_patch16_dinov3",
        experts: int = 4,
        chosen: int = 2,
        task_width: int = 64,
        jitter: float = 0.0,
        balance_weight: float = 0.02,
        channels: int = 128,
        widths: Sequence[int] = (48, 96, 192, 384),
        dropout: float = 0.0,
        encoder_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(tasks)
        if not 1 <= chosen <= experts:
            raise UserError(f"a token cannot use {chosen} of {experts} experts; set chosen to 1..{experts}")
        if not encoder.startswith("vit_") or "dinov3" not in encoder or not timm.is_model(encoder):
            raise UserError(f"m2dino needs a DINOv3 ViT of timm such as vit_small_patch16_dinov3, not {encoder!r}")
        vit = timm.create_model(encoder, pretrained=False, num_classes=0, **(encoder_options or {}))
        depth = len(vit.blocks) // 2
        width, prefix = vit.embed_dim, vit.num_prefix_tokens
        self.indices = {spec.task_id: index for index, spec in enumerate(tasks)}
        self.balance_weight, self.timm_name = balance_weight, encoder
        self.expert_layers = ExpertLayers(vit, depth, len(tasks), task_width, experts, chosen, jitter)
        self.trunk = Trunk(vit, depth)
        self.decoder = TokenDPT(prefix, width, widths, channels)
        self.heads = nn.ModuleDict()
        self.stages[ENCODER] = Stage(self.trunk, (IMAGES,), ("early", "trunk"))
        self.stages["experts"] = Stage(self.expert_layers, ("trunk", TASK), ("late", "last"))
        self.stages[DECODER] = Stage(self.decoder, ("early", "trunk", "late", "last"), ("dense",))
        for spec in tasks:
            name = head_stage(spec.task_id)
            self.heads[spec.task_id] = head = make_head(spec, width, channels, dropout)
            is_dense = spec.kind.is_dense
            self.stages[name] = Stage(head, ("dense",) if is_dense else ("last",), (OUTPUT,))
            self.paths[spec.task_id] = (ENCODER, "experts", *((DECODER,) if is_dense else ()), name)

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Parameters that pretraining fills: the whole ViT with its experts, but not routers and task embedding."""
        deep = self.expert_layers.named_parameters()
        new = ("task_embedding.", ".router.")
        return [*self.trunk.parameters(), *(p for name, p in deep if not any(part in name for part in new))]

    def no_weight_decay(self) -> list[nn.Parameter]:
        """The task embedding, and the class and register tokens."""
        vit = self.trunk.vit
        tokens = [token for token in (vit.cls_token, vit.reg_token) if token is not None]
        return [*self.expert_layers.task_embedding.parameters(), *tokens]

    def auxiliary_loss(self) -> Tensor | None:
        """Return the weighted mean of the layers' balance losses in the last training pass, and clear them."""
        mixtures = self._mixtures()
        losses = [mixture.balance for mixture in mixtures if mixture.balance is not None]
        for mixture in mixtures:
            mixture.balance = None
        return self.balance_weight * torch.stack(losses).mean() if losses else None

    def _mixtures(self) -> list[MixtureOfExperts]:
        return [module for module in self.modules() if isinstance(module, MixtureOfExperts)]

    def load_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Load the state dict of timm's plain ViT. Every expert becomes a copy of its layer's FFN, with jitter.

        Raises UserError if the tensors do not fit.
        """
        depth = len(self.trunk.vit.blocks)
        unused = {key for key in state if key.startswith("blocks.")}
        own = (*self.trunk.named_parameters("trunk"), *self.expert_layers.named_parameters("expert_layers"))
        for name, parameter in own:
            source = _name_in_vit(name, depth)
            if source is None:
                continue
            if source not in state or state[source].shape != parameter.shape:
                raise UserError(f"the weights lack {source} of shape {tuple(parameter.shape)}; choose the same ViT")
            unused.discard(source)
            with torch.no_grad():
                parameter.copy_(state[source])
        if unused:
            raise UserError(f"the weights have {len(unused)} unknown tensors ({min(unused)}...); choose the same ViT")
        for mixture in self._mixtures():
            mixture.spread()


def _name_in_vit(name: str, depth: int) -> str | None:
    """Return a parameter's name in timm's plain ViT, or None for routers and task embedding."""
    if name.startswith("trunk.vit."):
        return name.removeprefix("trunk.vit.")
    parts = name.removeprefix("expert_layers.").split(".")
    if "router" in parts or parts[0] == "task_embedding":
        return None
    if parts[0] == "blocks":
        parts[1] = str(int(parts[1]) + depth)
    if "experts" in parts:
        at = parts.index("experts")
        del parts[at : at + 2]
    return ".".join(parts)
