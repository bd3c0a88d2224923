"""What the converters of the prompted networks share. Their few heads serve all data sets, told apart by prompts.

So every task gets a copy of the head for its kind and number of classes, and the prompts of what it shows.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from challenge.errors import UserError
from challenge.imaging.geometry import Fit
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec, nearest
from challenge.uusic.heads import head_table
from model.networks.prompts import Vocabulary
from model.networks.system import System
from model.networks.task_table import profile
from training.conversion.checkpoint_files import TRAINED_ON, KeyReport, source_of, write_report
from training.export.graphs import ExportFacts, export

_KINDS = (TaskKind.SEGMENTATION, TaskKind.CLASSIFICATION)


def fitting_tasks(vocabulary: Vocabulary, class_counts: Collection[int], others: Sequence[str]) -> dict[str, TaskSpec]:
    """Return the tasks that a network can answer, by id.

    These are the challenge's tasks of two classes whose position is in the vocabulary, and `others`: tasks of
    `challenge/uusic/heads.toml` that the network's data sets teach. `class_counts` are those of the classifiers.
    """
    challenge = [
        spec for spec in CATALOGUE.values()
        if spec.kind in _KINDS and spec.num_classes == 2 and profile(spec.task_id).position in vocabulary.position
    ]  # fmt: skip
    known = {spec.task_id: spec for spec in head_table().own_tasks}
    fitting = [*challenge, *(known[name] for name in others)]
    return {
        spec.task_id: spec for spec in fitting if spec.kind is TaskKind.SEGMENTATION or spec.num_classes in class_counts
    }


def choose_tasks(names: Sequence[str], fitting: Mapping[str, TaskSpec], network: str) -> list[TaskSpec]:
    """Return the tasks `names`, all that fit if empty. Raises UserError for one that the network cannot answer."""
    for name in names:
        if name not in fitting:
            raise UserError(
                f"{network} cannot answer {name!r}{nearest(name, fitting)}; choose from {', '.join(fitting)}"
            )
    return [fitting[name] for name in names or fitting]


def own_profiles(tasks: Sequence[TaskSpec]) -> dict[str, dict[str, str]]:
    """Return position and nature of those tasks that are not the challenge's, as the system's option `profiles`."""
    organs = {spec.task_id: head_table().organ_of(spec) for spec in tasks if spec.task_id not in CATALOGUE}
    return {name: {"position": organ.position, "nature": organ.nature} for name, organ in organs.items() if organ}


def write_weights(
    system: System,
    report: KeyReport,
    about: Mapping[str, Any],
    checkpoint: Path,
    output: Path,
    image_size: int,
    fit: Fit,
) -> None:
    """Export a converted network that was trained on values in 0..1; write the report of its keys beside it."""
    source = source_of(checkpoint)
    facts = ExportFacts(
        name=checkpoint.stem,
        system=about["name"],
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        image_size=image_size,
        fit=fit,
        trained_on=dict.fromkeys(system.tasks, TRAINED_ON),
        extra={"converted_from": source},
    )
    export(system, facts, output)
    write_report(report, system, source, about, output)
