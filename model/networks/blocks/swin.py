"""Swin Transformer blocks on (B, h, w, C) maps (arXiv 2103.14030). Prompts can guide their attention.

The guide is PerceptGuide's hyper-perception (Medical Image Analysis 104, 103639): `HyperPerception`.
"""

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from challenge.errors import UserError


class HyperPerception(nn.Module):
    """Prompts -> one d x d matrix W of rank 1 per head, placed between queries and keys.

    Every prompt gives an outer product of a learned hyper vector and an embedding of its one-hot. The four outer
    products are multiplied element by element. This equals the outer product u e^T of the vectors' products, so only
    u and e are computed.

    Published: the content logits are q W k^T; the embeddings start near 0, and so does W (about 1e-7). Corrected
    (`residual`): the logits are q k^T + alpha q W k^T; alpha starts at 0 and the embeddings near 1. So the block starts
    as a plain Swin block, and alpha has a gradient from the first step on.
    """

    def __init__(self, sizes: Sequence[int], channels: int, heads: int, residual: bool) -> None:
        super().__init__()
        self.sizes, self.heads = list(sizes), heads
        depth = channels // heads
        self.hyper = nn.ParameterList(torch.rand(heads, depth) for _ in sizes)
        self.embed = nn.ModuleList(nn.Linear(size, channels) for size in sizes)
        for linear in self.embed:
            nn.init.trunc_normal_(linear.get_parameter("weight"), std=0.02)
            nn.init.constant_(linear.get_parameter("bias"), 1.0 if residual else 0.0)
        self.alpha = nn.Parameter(torch.zeros(heads)) if residual else None

    def forward(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """(B, width) prompts -> u (heads, d) and e (B, heads, d)."""
        hyper = reduce(torch.mul, self.hyper)
        parts = torch.split(codes, self.sizes, dim=1)
        embedded = reduce(torch.mul, (embed(part) for embed, part in zip(self.embed, parts, strict=True)))
        return hyper, torch.unflatten(embedded, 1, (self.heads, -1))


class WindowAttention(nn.Module):
    """Attention within windows of `window` x `window` tokens, with a relative position bias.

    `published_tiling` repeats the whole batch's prompts for the windows, as the authors' code does. The windows are
    ordered by image, so images with different prompts then use each other's prompts. This happens in training alone:
    the authors test one image at a time, and answers must not depend on the other images of a batch.
    """

    def __init__(
        self, channels: int, heads: int, window: int, guide: HyperPerception | None, published_tiling: bool
    ) -> None:
        super().__init__()
        self.heads, self.guide, self.published_tiling = heads, guide, published_tiling
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.bias_table, std=0.02)
        row, column = torch.arange(window).repeat_interleave(window), torch.arange(window).repeat(window)
        down, right = (places[:, None] - places[None] + window - 1 for places in (row, column))
        self.offsets = nn.Buffer(down * (2 * window - 1) + right, persistent=False)

    def forward(self, tokens: Tensor, count: int, mask: Tensor | None, codes: Tensor | None) -> Tensor:
        """(B * count, window^2, C) tokens, (count, window^2, window^2) mask, (B, width) prompts -> shape of tokens."""
        q, k, v = torch.unflatten(self.qkv(tokens), 2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q = q * q.shape[-1] ** -0.5
        logits = self._content(q, k, count, codes) + self.bias_table[self.offsets].permute(2, 0, 1)
        if mask is not None:
            logits = (torch.unflatten(logits, 0, (-1, count)) + mask[:, None]).flatten(0, 1)
        result: Tensor = self.project((logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
        return result

    def _content(self, q: Tensor, k: Tensor, count: int, codes: Tensor | None) -> Tensor:
        if self.guide is None or codes is None:
            return q @ k.transpose(-2, -1)
        hyper, embedded = self.guide(codes)
        if self.published_tiling and self.training:
            embedded = embedded.repeat(count, 1, 1)
        else:
            embedded = embedded[:, None].expand(-1, count, -1, -1).flatten(0, 1)
        guided: Tensor = (q @ hyper[:, :, None]) @ (embedded[:, :, None] @ k.transpose(-2, -1))  # q u, e k: rank 1
        if self.guide.alpha is None:
            return guided
        return q @ k.transpose(-2, -1) + self.guide.alpha.view(-1, 1, 1) * guided


class SwinBlock(nn.Module):
    """(Shifted) window attention and MLP, each with a layer norm before it and a residual connection."""

    def __init__(self, attention: WindowAttention, channels: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = attention
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.drop_path = DropPath(drop_path)

    def forward(self, features: Tensor, codes: Tensor | None = None) -> Tensor:
        """(B, h, w, C) with h and w multiples of the window, and (B, width) prompts -> (B, h, w, C)."""
        height, width = int(features.shape[1]), int(features.shape[2])
        shift = self.shift if min(height, width) > self.window else 0
        shifted = self.norm1(features)
        mask = None
        if shift:
            shifted = shifted.roll((-shift, -shift), (1, 2))
            mask = self._mask(height, width, shift, features)
        rows, columns = height // self.window, width // self.window
        windows = self.attention(self._cut(shifted), rows * columns, mask, codes)
        grid = torch.unflatten(windows, 1, (self.window, self.window))
        attended = torch.unflatten(grid, 0, (-1, rows, columns)).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        if shift:
            attended = attended.roll((shift, shift), (1, 2))
        features = features + self.drop_path(attended)
        result: Tensor = features + self.drop_path(self.mlp(self.norm2(features)))
        return result

    def _cut(self, features: Tensor) -> Tensor:
        """(B, h, w, C) -> (B * windows, window^2, C), image by image."""
        rows, columns = int(features.shape[1]) // self.window, int(features.shape[2]) // self.window
        cells = torch.unflatten(torch.unflatten(features, 2, (columns, self.window)), 1, (rows, self.window))
        return cells.transpose(2, 3).flatten(3, 4).flatten(0, 2)

    def _mask(self, height: int, width: int, shift: int, like: Tensor) -> Tensor:
        """Block attention between parts from opposite borders that the shift put into one window."""
        sides = []
        for size in (height, width):
            place = torch.arange(size, device=like.device)
            sides.append((place >= size - self.window).int() + (place >= size - shift).int())
        regions = self._cut((3 * sides[0][:, None] + sides[1])[None, :, :, None])[..., 0]
        return (regions[:, :, None] != regions[:, None]).to(like.dtype) * -100.0


def swin_stage(
    channels: int,
    depth: int,
    heads: int,
    window: int,
    drop_path: Sequence[float] | None = None,
    prompt_sizes: Sequence[int] = (),
    form: str = "corrected",
) -> nn.ModuleList:
    """Return `depth` blocks, every second one shifted, and guided by prompts of `prompt_sizes` if there are any."""
    published = form == "published"
    blocks = nn.ModuleList()
    for i in range(depth):
        guide = HyperPerception(prompt_sizes, channels, heads, residual=not published) if prompt_sizes else None
        attention = WindowAttention(channels, heads, window, guide, published)
        rate = drop_path[i] if drop_path else 0.0
        blocks.append(SwinBlock(attention, channels, window, (i % 2) * (window // 2), rate))
    return blocks


class PatchMerging(nn.Module):
    """Halves the map: four neighbours are concatenated and projected to twice the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduce = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h / 2, w / 2, 2C)."""
        parts = [features[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        merged: Tensor = self.reduce(self.norm(torch.cat(parts, dim=3)))
        return merged


class SwinEncoder(nn.Module):
    """Patch embedding and four stages. Maps: the first three stages' inputs, and the last's normed output."""

    def __init__(
        self, channels: int, depths: Sequence[int], heads: Sequence[int], window: int, drop_path: float
    ) -> None:
        super().__init__()
        self.multiple = 32 * window
        self.embed = nn.Conv2d(3, channels, 4, 4)
        self.embed_norm = nn.LayerNorm(channels)
        rates = torch.linspace(0, drop_path, sum(depths), device="cpu").tolist()
        self.stages, self.merges = nn.ModuleList(), nn.ModuleList()
        for i, depth in enumerate(depths):
            before = sum(depths[:i])
            self.stages.append(swin_stage(channels * 2**i, depth, heads[i], window, rates[before : before + depth]))
            if i < len(depths) - 1:
                self.merges.append(PatchMerging(channels * 2**i))
        self.norm = nn.LayerNorm(channels * 2 ** (len(depths) - 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, S, S) -> (B, S/4, S/4, C), (B, S/8, S/8, 2C), (B, S/16, S/16, 4C), (B, S/32, S/32, 8C).

        Raises UserError if S is not a multiple of 32 * window.
        """
        height, width = int(images.shape[2]), int(images.shape[3])
        if height % self.multiple or width % self.multiple:
            raise UserError(
                f"images of {width}x{height} do not fit windows of {self.multiple // 32}: the size must be a multiple "
                f"of {self.multiple}; set the system's option window = 8 for 256, or data.image_size = {self.multiple}"
            )
        features = self.embed_norm(self.embed(images).permute(0, 2, 3, 1))
        maps = [features]
        for i, stage in enumerate(self.stages):
            for block in stage.children():
                features = block(features)
            if i < len(self.merges):
                features = self.merges[i](features)
                maps.append(features)
        maps[-1] = self.norm(features)
        return tuple(maps)

    def load_timm(self, state: Mapping[str, Tensor]) -> None:
        """Fill every tensor from timm's Swin. Raises UserError if one stays empty or the weights have more blocks."""
        own = dict(self.named_parameters())
        names = {name: _name_in_timm(name) for name in own}
        misfits = [n for n, there in names.items() if there not in state or state[there].shape != own[n].shape]
        surplus = {key for key in state if key.startswith("layers.")}.difference(names.values())
        surplus = {key for key in surplus if not key.endswith(("relative_position_index", "attn_mask"))}
        if misfits or surplus:
            depths = ", ".join(str(len(list(stage.children()))) for stage in self.stages)
            raise UserError(
                f"the weights fill {len(own) - len(misfits)} of the {len(own)} tensors of this Swin (depths {depths}) "
                f"and have {len(surplus)} of other blocks; Swin-T fits the options depths = [2, 2, 6, 2], "
                "channels = 96, window = 7"
            )
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(state[names[name]])


_TIMM_PARTS = (
    ("attention.project", "attn.proj"),
    ("attention.bias_table", "attn.relative_position_bias_table"),
    ("attention.qkv", "attn.qkv"),
    ("mlp.0.", "mlp.fc1."),
    ("mlp.2.", "mlp.fc2."),
)


def _name_in_timm(name: str) -> str:
    """Return an encoder parameter's name in timm's Swin, whose stages begin with patch merging."""
    place, _, rest = name.partition(".")
    if place in ("stages", "merges"):
        number, _, rest = rest.partition(".")
        if place == "merges":
            return f"layers.{int(number) + 1}.downsample.{rest.replace('reduce.', 'reduction.')}"
        for own, theirs in _TIMM_PARTS:
            rest = rest.replace(own, theirs)
        return f"layers.{number}.blocks.{rest}"
    return f"{({'embed': 'patch_embed.proj', 'embed_norm': 'patch_embed.norm'}).get(place, place)}.{rest}"
