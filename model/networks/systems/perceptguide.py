"""PerceptGuide (Medical Image Analysis 104, 103639): a Swin-Unet with prompts that guide its decoders' attention.

In the published form and configuration (masks of 2 classes, 2-way classification, windows of 7) it has 66,288,068
parameters, of which 104,832 belong to the prompts. The published form has two faults: its guided attention has rank 1
and starts at zero, and images in a batch with different prompts use each other's. The corrected form, the default,
adds the guided part to plain attention, with one learned factor per head.

The additive form is PerceptGuide's predecessor: UniUSNet (arXiv 2406.01154; 65,043,716 parameters, 23,040 of prompts)
and, with a 4-way head besides, the baseline of UUSIC 2025 (65,044,488).
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec
from model.networks.blocks.swin import HyperPerception, SwinEncoder
from model.networks.decoders.swin_unet import Branch, ClassificationBranch, FinalExpansion, SegmentationBranch
from model.networks.decoders.swin_unet_additive import (
    AdditiveClassificationBranch,
    AdditivePrompts,
    AdditiveSegmentationBranch,
)
from model.networks.heads.pooled import make_head
from model.networks.prompts import PERCEPTGUIDE, ULTRAUPCONVNET, PromptTable
from model.networks.system import ENCODER, IMAGES, OUTPUT, TASK, Stage, System, head_stage

FORMS = ("corrected", "published", "additive")
_FEATURES = ("s4", "s8", "s16", "s32")
_SKIPS, _DEEP = _FEATURES[:3], _FEATURES[3]


class PerceptGuide(System):
    """Swin encoder, a decoder for dense tasks and one for the others.

    `form`: `corrected`, `published` or `additive` (UniUSNet: prompts are added to the decoders' features, and classes
    have no skips). Image sizes are multiples of 32 x `window` (224 with the published 7, 256 with 8). `vocabulary`:
    `challenge` (the published prompts, then the challenge's positions and kinds) or `published` (18 entries, 15 in the
    additive form). `profiles` describes your own tasks (see `TaskProfile`). ImageNet weights of timm's Swin-T fit only
    an encoder with `depths` 2, 2, 6, 2; with the published 4, 4, 4, 4 most of it would stay random.
    """

    timm_name = "swin_tiny_patch4_window7_224"
    dense_branch: Branch
    global_branch: Branch

    def __init__(
        self,
        tasks: Sequence[TaskSpec],
        channels: int = 96,
        depths: Sequence[int] = (4, 4, 4, 4),
        heads: Sequence[int] = (3, 6, 12, 24),
        window: int = 7,
        drop_path: float = 0.2,
        prompts: bool = True,
        form: str = "corrected",
        vocabulary: str = "challenge",
        profiles: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(tasks)
        if form not in FORMS:
            raise UserError(f"form {form!r} is none of {', '.join(FORMS)}")
        self.size_multiple = 32 * window
        published = ULTRAUPCONVNET if form == "additive" else PERCEPTGUIDE
        table = PromptTable(tasks, published, vocabulary, profiles) if prompts else None
        if prompts:
            self.indices = {spec.task_id: index for index, spec in enumerate(tasks)}
        self.backbone = SwinEncoder(channels, depths, heads, window, drop_path)
        self.stages[ENCODER] = Stage(self.backbone, (IMAGES,), _FEATURES)
        if form == "additive":
            start = self._additive_branches(channels, heads, window, table)
        else:
            start = self._guided_branches(channels, heads, window, table, form)
        self.expansion = FinalExpansion(channels)
        self.stages["expansion"] = Stage(self.expansion, ("dense",), ("full",))
        self.heads = nn.ModuleDict()
        for spec in tasks:
            name = head_stage(spec.task_id)
            head: nn.Module
            path: tuple[str, ...]
            match spec.kind:
                case TaskKind.SEGMENTATION:
                    head = nn.Conv2d(channels, spec.num_classes, 1, bias=False)
                    source, path = "full", (*start, "dense", "expansion", name)
                case TaskKind.DETECTION:
                    head, source, path = make_head(spec, 2 * channels, channels), "dense", (*start, "dense", name)
                case _:
                    head, source, path = make_head(spec, 2 * channels, channels), "pooled", (*start, "global", name)
            self.heads[spec.task_id] = head
            self.stages[name] = Stage(head, (source,), (OUTPUT,))
            self.paths[spec.task_id] = path

    def _guided_branches(
        self, channels: int, heads: Sequence[int], window: int, table: PromptTable | None, form: str
    ) -> tuple[str, ...]:
        """Add the decoders whose attention the prompts guide; return the stages that come before them."""
        inputs = (*_FEATURES, TASK) if table else _FEATURES
        self.dense_branch = SegmentationBranch(channels, heads, window, table, form)
        self.global_branch = ClassificationBranch(channels, heads, window, table, form)
        self.stages["dense"] = Stage(self.dense_branch, inputs, ("dense",))
        self.stages["global"] = Stage(self.global_branch, inputs, ("pooled",))
        return (ENCODER,)

    def _additive_branches(
        self, channels: int, heads: Sequence[int], window: int, table: PromptTable | None
    ) -> tuple[str, ...]:
        """Add the decoders to whose features the prompts are added; return the stages that come before them."""
        self.dense_branch = AdditiveSegmentationBranch(channels, heads, window)
        self.global_branch = AdditiveClassificationBranch(channels, heads, window)
        if table is None:
            self.stages["dense"] = Stage(self.dense_branch, _FEATURES, ("dense",))
            self.stages["global"] = Stage(self.global_branch, (_DEEP,), ("pooled",))
            return (ENCODER,)
        self.added = AdditivePrompts(table, channels)
        self.stages["prompts"] = Stage(self.added, (_DEEP, TASK), ("prompted", "wide", "middle", "narrow"))
        self.stages["dense"] = Stage(self.dense_branch, (*_SKIPS, "prompted", "middle", "narrow"), ("dense",))
        self.stages["global"] = Stage(self.global_branch, ("prompted", "wide", "middle"), ("pooled",))
        return (ENCODER, "prompts")

    def load_encoder(self, state: Mapping[str, Tensor]) -> None:
        """Fill the encoder from timm's Swin. Raises UserError if depths, channels or window differ."""
        self.backbone.load_timm(state)

    def no_weight_decay(self) -> list[nn.Parameter]:
        """Hyper vectors and factors of the guides, and all relative position biases."""
        names = (".guide.hyper.", ".guide.alpha", ".bias_table")
        return [parameter for key, parameter in self.named_parameters() if any(name in key for name in names)]

    def prompt_parameters(self) -> list[nn.Parameter]:
        """Parameters that generate the prompt embeddings. Downstream synchronisation trains only these."""
        embeds = [module.embed for module in self.modules() if isinstance(module, HyperPerception)]
        added = [module for module in self.modules() if isinstance(module, AdditivePrompts)]
        return [parameter for module in (*embeds, *added) for parameter in module.parameters()]
