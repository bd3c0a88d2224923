"""Several networks that answer as one: each routes the images along its own graphs, and their answers are joined."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model.frozen.metadata import WeightsMetadata
from model.frozen.outputs.joining import join, join_maps
from model.frozen.router import Router
from model.frozen.runtimes.base import Array, Runtime


@dataclass(frozen=True)
class Ensemble(Router):
    """Runs a batch of images through all members of weights, one after the other."""

    def with_maps(
        self, images: Array, tasks: Sequence[Sequence[str]]
    ) -> Iterator[tuple[str, list[int], Array, Array | None]]:
        """See `Router.with_maps`. The outputs are those of the members that were trained on the task, joined.

        Of a member nothing but its raw outputs and maps is kept when the next one begins.
        """
        found: dict[str, tuple[list[int], list[Array], list[Array | None]]] = {}
        for member in self.metadata.members:
            own = member.metadata.tasks
            asked = [[task_id for task_id in names if own[task_id].answers == "network"] for names in tasks]
            for task_id, numbers, outputs, maps in Router(member.metadata, self.runtime).with_maps(images, asked):
                _, outputs_before, maps_before = found.setdefault(task_id, (numbers, [], []))
                outputs_before.append(outputs)
                maps_before.append(maps)
        for task_id, (numbers, several, several_maps) in found.items():
            yield task_id, numbers, join(self.metadata.tasks[task_id].spec.kind, several), join_maps(several_maps)


def network_of(metadata: WeightsMetadata, runtime: Runtime) -> Router:
    """Return what answers with these weights: one network, or several as one."""
    return Ensemble(metadata, runtime) if metadata.members else Router(metadata, runtime)
