"""How often the images of a run pass through an encoder, which is most of a run's time."""

from collections.abc import Sequence
from dataclasses import dataclass

from model.frozen.loading import Batch, Job
from model.frozen.metadata import WeightsMetadata
from model.frozen.outputs.postprocess import Postprocess


@dataclass(frozen=True)
class Cost:
    """The number of networks, the most views of an image (itself included), and the mean passes of an image.

    Second looks, which depend on what is found, are not counted.
    """

    networks: int = 1
    views: int = 1
    passes: float = 1.0

    @classmethod
    def of(cls, metadata: WeightsMetadata, level: Postprocess, batches: Sequence[Batch]) -> "Cost":
        """Return the cost of `batches` at a level of post-processing."""
        networks = max(1, len(metadata.members))
        views = [1 + len(_views(metadata, level, job)) for batch in batches for job in batch]
        return cls(networks, max(views, default=1), networks * sum(views) / max(1, len(views)))

    def __str__(self) -> str:
        """Return the line of the log: `3 networks, 2 views: about 6 times the encoder's work`."""
        networks = f"{self.networks} network{'s' * (self.networks > 1)}"
        views = f"{self.views} view{'s' * (self.views > 1)}"
        return f"{networks}, {views}: about {self.passes:.2g} times the encoder's work"


def _views(metadata: WeightsMetadata, level: Postprocess, job: Job) -> set[str]:
    """Return the views of a job's image that one of its tasks gains by."""
    tasks = [metadata.tasks[row.task_id] for row in job.samples if row.task_id in metadata.tasks]
    return {name for task in tasks if task.answers == "network" for name in task.postprocessing.up_to(level).views}
