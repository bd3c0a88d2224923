"""One-hot prompts (position, task, type, nature): they tell a network what an image shows and what to answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor, nn

from challenge.errors import UserError
from challenge.tasks import TaskKind, TaskSpec, nearest
from model.networks.task_table import TaskProfile, profile, task_table


@dataclass(frozen=True)
class Vocabulary:
    """The values of each prompt, in the order of their one-hot entries."""

    position: tuple[str, ...]
    task: tuple[str, ...]
    type: tuple[str, ...]
    nature: tuple[str, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of each prompt."""
        return tuple(len(getattr(self, field.name)) for field in fields(self))

    def extended(self) -> "Vocabulary":
        """Append the challenge's positions and kinds that the published vocabulary lacks."""
        positions = dict.fromkeys((*self.position, *(entry.position for entry in task_table().values())))
        return replace(self, position=tuple(positions), task=tuple(dict.fromkeys((*self.task, *TaskKind))))

    def encode(self, spec: TaskSpec, about: TaskProfile) -> list[float]:
        """Return the four one-hot vectors, concatenated. Raises UserError for a value that is not in the vocabulary."""
        values = {
            "position": about.position,
            "task": str(spec.kind),
            "type": about.type,
            "nature": about.nature,
        }
        code: list[float] = []
        for name, value in values.items():
            known: tuple[str, ...] = getattr(self, name)
            if value not in known:
                raise UserError(
                    f"task {spec.task_id!r}: the prompt {name!r} has no value {value!r}{nearest(value, known)}; "
                    f"there are: {', '.join(known)} (the published vocabulary is smaller than 'challenge')"
                )
            code += [float(value == word) for word in known]
        return code


_KINDS = ("segmentation", "classification")
_TYPES = ("whole", "local", "location")
_NATURES = ("tumour", "organ")

ULTRAUPCONVNET = Vocabulary(
    ("breast", "cardiac", "thyroid", "head", "kidney", "appendix", "liver", "indis"), _KINDS, _TYPES, _NATURES
)
"""15 entries (arXiv 2509.11108 and UniUSNet, arXiv 2406.01154)."""

PERCEPTGUIDE = Vocabulary(
    ("ovary", "breast", "thyroid", "carotid", "appendix", "liver", "cardiac", "head", "kidney", "leg", "indis"),
    _KINDS,
    _TYPES,
    _NATURES,
)
"""18 entries (Medical Image Analysis 104, 103639)."""


class PromptTable(nn.Module):
    """Task index -> the task's prompts. The table follows from the tasks, so it is not in the state dict."""

    def __init__(
        self,
        tasks: Sequence[TaskSpec],
        published: Vocabulary,
        vocabulary: str = "challenge",
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__()
        if vocabulary not in ("challenge", "published"):
            raise UserError(f"vocabulary {vocabulary!r} is neither 'challenge' nor 'published'")
        self.vocabulary = published.extended() if vocabulary == "challenge" else published
        codes = [self.vocabulary.encode(spec, profile(spec.task_id, own)) for spec in tasks]
        self.codes = nn.Buffer(torch.tensor(codes), persistent=False)

    @property
    def width(self) -> int:
        """Entries of a prompt vector."""
        return sum(self.vocabulary.sizes)

    def forward(self, task: Tensor) -> Tensor:
        """(B,) int64 task indices -> (B, width) float32 of four one-hot vectors."""
        return self.codes[task]
