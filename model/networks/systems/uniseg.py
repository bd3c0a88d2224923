"""UniSeg (arXiv 2304.03493) in 2D: one network whose decoder learns its task from a universal prompt.

A learned prompt with one map per task is fused with the deepest features. The features and the task's own map go into
a decoder that all segmentations share, including the last convolution; each task keeps its first K classes. With the
published U-Net shape in 2D, 27 tasks and only segmentation it has 21,470,493 parameters (FUSE 845,085, prompt 1,728).
UniSeg has no other kinds of task: their heads are ours.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec
from model.networks.blocks.fuse import UniversalPrompt, features_and_own_map, he_start
from model.networks.decoders.unet import UNetDecoder, UNetEncoder
from model.networks.encoders import Encoder
from model.networks.heads.pooled import make_head
from model.networks.system import DECODER, ENCODER, IMAGES, OUTPUT, TASK, Stage, System, head_stage

_UNET = "unet"
_FINE, _COARSE, _DEEP = ("f1", "f2"), ("f4", "f8", "f16"), "f32"
_DECODED_FINE, _DECODED = ("full", "half"), ("dense", "dense8", "dense16")
"""The decoder's maps at strides 1 and 2, and at 4, 8 and 16. The coarser ones are outputs for deep supervision only."""


class PromptedDecoder(nn.Module):
    """U-Net decoder to stride 4, from the deepest features and the task's own map."""

    def __init__(self, channels: int, skip_channels: Sequence[int], prompted: bool, all_levels: bool) -> None:
        super().__init__()
        self.channels = channels
        self.decoder = UNetDecoder(channels + int(prompted), skip_channels, all_levels)

    def forward(
        self, joined: Tensor, f16: Tensor, f8: Tensor, f4: Tensor, task: Tensor | None = None
    ) -> Tensor | tuple[Tensor, ...]:
        """(B, C + T, S / 32, S / 32), three encoder maps, (B,) task indices -> (B, C', S / 4, S / 4).

        With `all_levels` the maps at strides 8 and 16 come after it.
        """
        deep = joined if task is None else features_and_own_map(joined, self.channels, task)
        maps: Tensor | tuple[Tensor, ...] = self.decoder(deep, f16, f8, f4)
        return maps


class FirstClasses(nn.Module):
    """Keeps the task's own classes of the shared logits; the others enter neither softmax nor loss."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, logits: Tensor) -> Tensor:
        """(B, K_max, s, s) -> (B, K, s, s)."""
        return logits[:, : self.num_classes]


class UniSeg(System):
    """Universal prompt and U-Net decoder on a U-Net encoder of its own or on a timm encoder with strides 4 to 32.

    `encoder`: `unet` with widths `features` (strides 1 to 32), or a timm name; then decoder and masks end at stride 4.
    `grid`: the prompt's side, S / 32; other image sizes interpolate it. `prompts=False` leaves out the universal
    prompt, as the authors do for fine-tuning. `deep_supervision` adds outputs at coarser scales, for training alone.
    The number of tasks fixes the shape of prompt and FUSE.
    """

    def __init__(
        self,
        tasks: Sequence[TaskSpec],
        encoder: str = _UNET,
        features: Sequence[int] = (32, 64, 128, 256, 512, 512),
        grid: int = 8,
        prompts: bool = True,
        last_norm: bool = True,
        deep_supervision: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(tasks)
        if encoder == _UNET and len(features) != 6:
            raise UserError(f"features needs six widths, for strides 1 to 32, but has {len(features)}")
        backbone = UNetEncoder(features) if encoder == _UNET else Encoder(encoder)
        *skips, deep = backbone.channels
        masks = [spec.num_classes for spec in tasks if spec.kind is TaskKind.SEGMENTATION]
        supervised = skips if deep_supervision else skips[:1]
        self.backbone = backbone
        self.universal_prompt = UniversalPrompt(deep, len(tasks), grid, last_norm) if prompts else None
        self.decoder = PromptedDecoder(deep, skips[:-4:-1], prompts, deep_supervision)
        self.fine = UNetDecoder(skips[2], skips[1::-1], deep_supervision) if encoder == _UNET else None
        self.classify = nn.ModuleList(nn.Conv2d(c, max(masks), 1, bias=False) for c in supervised if masks)
        self.classify.apply(he_start)
        self.heads = nn.ModuleDict()

        fine = _FINE if self.fine else ()
        deepest = _DEEP
        task_input: tuple[str, ...] = ()
        start: tuple[str, ...] = (ENCODER,)
        self.stages[ENCODER] = Stage(backbone, (IMAGES,), (*fine, *_COARSE, _DEEP))
        if self.universal_prompt:
            self.indices = {spec.task_id: index for index, spec in enumerate(tasks)}
            self.stages["prompt"] = Stage(self.universal_prompt, (_DEEP,), ("joined",))
            deepest, task_input, start = "joined", (TASK,), (ENCODER, "prompt")
        shown = None if deep_supervision else 1
        self.stages[DECODER] = Stage(self.decoder, (deepest, *_COARSE[::-1], *task_input), _DECODED[:shown])
        if self.fine:
            self.stages["fine"] = Stage(self.fine, ("dense", *_FINE[::-1]), _DECODED_FINE[:shown])
        if masks:
            self.stages["classify"] = Stage(self.classify[0], ("full" if self.fine else "dense",), ("logits",))
        to_masks = (*start, DECODER, *(("fine",) if self.fine else ()), "classify")
        # Global heads pool the deepest features together with the maps of all tasks.
        pooled = deep + len(tasks) * int(prompts)
        for spec in tasks:
            name = head_stage(spec.task_id)
            head: nn.Module
            match spec.kind:
                case TaskKind.SEGMENTATION:
                    head, source, before = FirstClasses(spec.num_classes), "logits", to_masks
                case TaskKind.DETECTION:
                    head, source, before = make_head(spec, pooled, skips[-3]), "dense", (*start, DECODER)
                case _:
                    head, source, before = make_head(spec, pooled, skips[-3], dropout), deepest, start
            self.heads[spec.task_id] = head
            self.stages[name] = Stage(head, (source,), (OUTPUT,))
            self.paths[spec.task_id] = (*before, name)

    def scales(self, values: Mapping[str, Mapping[str, Tensor]]) -> dict[str, tuple[Tensor, ...]]:
        """Return the logits of masks at every supervised scale, finest first, and the raw output of other kinds."""
        decoded = (*(_DECODED_FINE if self.fine else ()), *_DECODED)
        found = {}
        for task_id, own in values.items():
            coarser = zip(self.classify[1:], decoded[1:], strict=False)
            is_mask = self.tasks[task_id].kind is TaskKind.SEGMENTATION
            others = [self.heads[task_id](conv(own[name])) for conv, name in coarser] if is_mask else []
            found[task_id] = (own[OUTPUT], *others)
        return found
