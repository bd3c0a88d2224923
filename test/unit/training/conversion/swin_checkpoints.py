"""Made checkpoints of PerceptGuide, UniUSNet and the UUSIC 2025 baseline, and their published graph computed from them.

Written from the published key names alone: nothing of the converter or of the project's networks is used.
"""

import zlib
from dataclasses import dataclass

import torch
import torch.nn.functional as F

PERCEPT_PROMPTS = {"position": 11, "task": 2, "mode": 3, "type": 2}
BUFFERS = ("relative_position_index", "attn_mask")


@dataclass(frozen=True)
class Sizes:
    channels: int = 96
    depths: tuple = (4, 4, 4, 4)
    heads: tuple = (3, 6, 12, 24)
    window: int = 7

    @property
    def image(self):
        return 32 * self.window


TINY = Sizes(8, (2, 1, 2, 1), (1, 2, 2, 4), 2)


@dataclass(frozen=True)
class Made:
    """A network by name (`perceptguide`, `uniusnet`, `uusic25`), with or without prompts."""

    name: str
    sizes: Sizes = TINY
    prompts: bool = True

    @property
    def guided(self):
        return self.name == "perceptguide" and self.prompts

    @property
    def classifiers(self):
        if self.name == "uusic25":
            return {2: "layers_task_cls_head_2cls.0", 4: "layers_task_cls_head_4cls.0"}
        return {2: "layers_task_cls_head.0"}

    def shapes(self):
        """Return the shape of every entry by its published name."""
        c, w = self.sizes.channels, self.sizes.window
        found = {}

        def linear(name, out, into, bias=True):
            found[f"{name}.weight"] = (out, into)
            if bias:
                found[f"{name}.bias"] = (out,)

        def norm(name, width):
            found[f"{name}.weight"] = found[f"{name}.bias"] = (width,)

        def blocks(name, width, heads, depth, grid, guided=False):
            for i in range(depth):
                block = f"{name}.blocks.{i}"
                norm(f"{block}.norm1", width)
                norm(f"{block}.norm2", width)
                found[f"{block}.attn.relative_position_bias_table"] = ((2 * w - 1) ** 2, heads)
                found[f"{block}.attn.relative_position_index"] = (w * w, w * w)
                if i % 2 and grid > w:
                    found[f"{block}.attn_mask"] = ((grid // w) ** 2, w * w, w * w)
                linear(f"{block}.attn.qkv", 3 * width, width)
                linear(f"{block}.attn.proj", width, width)
                linear(f"{block}.mlp.fc1", 4 * width, width)
                linear(f"{block}.mlp.fc2", width, 4 * width)
                for prompt, size in PERCEPT_PROMPTS.items() if guided else ():
                    found[f"{block}.attn.hyper_param_{prompt}"] = (1, heads, width // heads, 1)
                    linear(f"{block}.{prompt}_prompt_proj_mlp", width, size)

        found["patch_embed.proj.weight"], found["patch_embed.proj.bias"] = (c, 3, 4, 4), (c,)
        norm("patch_embed.norm", c)
        for i in range(4):
            blocks(f"layers.{i}", c << i, self.sizes.heads[i], self.sizes.depths[i], 8 * w >> i)
            if i < 3:
                linear(f"layers.{i}.res_scale.reduction", c << i + 1, c << i + 2, bias=False)
                norm(f"layers.{i}.res_scale.norm", c << i + 2)
        norm("norm", 8 * c)
        linear("layers_task_seg_up.0.expand", 16 * c, 8 * c, bias=False)
        norm("layers_task_seg_up.0.norm", 4 * c)
        for i, width in enumerate((4 * c, 2 * c, c), 1):
            blocks(f"layers_task_seg_up.{i}", width, self.sizes.heads[3 - i], 2, w << i, self.guided)
            linear(f"layers_task_seg_skip.{i}", width, 2 * width)
            if i < 3:
                linear(f"layers_task_seg_up.{i}.res_scale.expand", 2 * width, width, bias=False)
                norm(f"layers_task_seg_up.{i}.res_scale.norm", width // 2)
        norm("norm_task_seg", c)
        linear("layers_task_seg_head.0.expand", 16 * c, c, bias=False)
        norm("layers_task_seg_head.0.norm", c)
        found["layers_task_seg_head.1.weight"] = (2, c, 1, 1)
        for i, width in enumerate((8 * c, 4 * c, 2 * c)):
            blocks(f"layers_task_cls_up.{i}", width, self.sizes.heads[3 - i], 2, w, self.guided)
            if i < 2:
                linear(f"layers_task_cls_up.{i}.res_scale.linear", width // 2, width, bias=False)
                norm(f"layers_task_cls_up.{i}.res_scale.norm", width // 2)
            if self.name == "perceptguide":
                linear(f"layers_task_cls_skip.{i + 1}", width, 3 * width // 2)
        norm("norm_task_cls", 2 * c)
        for classes, name in self.classifiers.items():
            linear(name, classes, 2 * c)
        if self.prompts and self.name != "perceptguide":
            for name, factor in (("", 8), ("_cls2", 4), ("_seg2_cls3", 2), ("_seg3", 1)):
                linear(f"dec_prompt_mlp{name}", factor * c, 15)
        return found

    def state(self):
        """Return a state dict in which every tensor has its own seed and moves the answers."""
        return {name: _tensor(name, shape) for name, shape in self.shapes().items()}


def _tensor(name, shape):
    chance = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if name.endswith("relative_position_index"):
        return torch.randint(0, 9, shape, generator=chance)
    value = torch.randn(shape, generator=chance)
    if "hyper_param" in name or "_prompt_proj_mlp.bias" in name:
        return 0.5 + 0.2 * value
    if "norm" in name.split(".")[-2] and name.endswith("weight"):
        return 1 + 0.2 * value
    if len(shape) > 1 and "table" not in name and "attn_mask" not in name:
        return value / torch.tensor(shape[1:]).prod() ** 0.5
    return 0.3 * value


def published(state, made, images, code):
    """(B, 3, S, S) BGR in 0..1 and one prompt vector -> {2 or 4: class logits, "mask": (B, 2, S, S)}."""
    sizes = made.sizes

    def linear(x, name):
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    def windows(x):
        b, h, _, c = x.shape
        w = sizes.window
        return x.view(b, h // w, w, h // w, w, c).permute(0, 1, 3, 2, 4, 5).reshape(-1, w * w, c)

    def attention(x, block, heads, mask):
        n, length, c = x.shape
        w = sizes.window
        q, k, v = linear(x, f"{block}.attn.qkv").view(n, length, 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        q = q * (c // heads) ** -0.5
        if f"{block}.attn.hyper_param_task" in state:
            between = torch.ones(())
            for prompt, one_hot in zip(PERCEPT_PROMPTS, code.split(list(PERCEPT_PROMPTS.values())), strict=True):
                embedded = linear(one_hot, f"{block}.{prompt}_prompt_proj_mlp").view(1, heads, 1, c // heads)
                between = between * (state[f"{block}.attn.hyper_param_{prompt}"] * embedded)
            q = q @ between
        y, x_ = torch.meshgrid(torch.arange(w), torch.arange(w), indexing="ij")
        y, x_ = y.flatten(), x_.flatten()
        index = (y[:, None] - y + w - 1) * (2 * w - 1) + x_[:, None] - x_ + w - 1
        logits = q @ k.transpose(-2, -1) + state[f"{block}.attn.relative_position_bias_table"][index].permute(2, 0, 1)
        if mask is not None:
            logits = (logits.view(-1, len(mask), heads, length, length) + mask[:, None]).view(-1, heads, length, length)
        return linear((logits.softmax(-1) @ v).transpose(1, 2).reshape(n, length, c), f"{block}.attn.proj")

    def blocks(x, name, heads):
        b, h, _, c = x.shape
        w, i = sizes.window, 0
        while f"{name}.blocks.{i}.norm1.weight" in state:
            block, shift, mask = f"{name}.blocks.{i}", 0, None
            if i % 2 and h > w:
                shift = w // 2
                zone = torch.zeros(h)
                zone[-w:-shift], zone[-shift:] = 1, 2
                zones = windows((3 * zone[:, None] + zone)[None, :, :, None])[..., 0]
                mask = (zones[:, None] != zones[:, :, None]) * -100.0
            y = windows(norm(x, f"{block}.norm1").roll((-shift, -shift), (1, 2)))
            y = attention(y, block, heads, mask).view(b, h // w, h // w, w, w, c).permute(0, 1, 3, 2, 4, 5)
            x = x + y.reshape(b, h, h, c).roll((shift, shift), (1, 2))
            x = x + linear(F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
            i += 1
        return x

    def finer(x, name, factor):
        x = linear(x, f"{name}.expand")
        b, h, _, c = x.shape
        x = x.view(b, h, h, factor, factor, c // factor**2).permute(0, 1, 3, 2, 4, 5)
        return norm(x.reshape(b, factor * h, factor * h, -1), f"{name}.norm")

    x = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=4)
    x, skips = norm(x.permute(0, 2, 3, 1), "patch_embed.norm"), []
    for i in range(4):
        skips.append(x)
        x = blocks(x, f"layers.{i}", sizes.heads[i])
        if i < 3:
            parts = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
            x = linear(norm(torch.cat(parts, -1), f"layers.{i}.res_scale.norm"), f"layers.{i}.res_scale.reduction")
    deep = norm(x, "norm")
    additive = made.prompts and made.name != "perceptguide"
    if additive:
        deep = deep + linear(code, "dec_prompt_mlp")
    x = finer(deep, "layers_task_seg_up.0", 2)
    for i in (1, 2, 3):
        x = linear(torch.cat([x, skips[3 - i]], -1), f"layers_task_seg_skip.{i}")
        if additive and i > 1:
            x = x + linear(code, "dec_prompt_mlp_seg2_cls3" if i == 2 else "dec_prompt_mlp_seg3")
        x = blocks(x, f"layers_task_seg_up.{i}", sizes.heads[3 - i])
        x = finer(x, f"layers_task_seg_up.{i}.res_scale", 2) if i < 3 else norm(x, "norm_task_seg")
    x = finer(x, "layers_task_seg_head.0", 4).permute(0, 3, 1, 2)
    answers = {"mask": F.conv2d(x, state["layers_task_seg_head.1.weight"])}
    x = deep
    for i in range(3):
        if made.name == "perceptguide":
            pooled = F.adaptive_avg_pool2d(skips[2 - i].permute(0, 3, 1, 2), sizes.window).permute(0, 2, 3, 1)
            x = linear(torch.cat([x, pooled], -1), f"layers_task_cls_skip.{i + 1}")
        if additive and i > 0:
            x = x + linear(code, "dec_prompt_mlp_cls2" if i == 1 else "dec_prompt_mlp_seg2_cls3")
        x = blocks(x, f"layers_task_cls_up.{i}", sizes.heads[3 - i])
        if i < 2:
            name = f"layers_task_cls_up.{i}.res_scale"
            x = norm(linear(x, f"{name}.linear"), f"{name}.norm")
    pooled = norm(x, "norm_task_cls").mean((1, 2))
    return answers | {classes: linear(pooled, name) for classes, name in made.classifiers.items()}
