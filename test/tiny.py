"""A tiny MH-MTL system with all 27 heads and two extra ones, for tests that need a network but not its quality."""

import hashlib
from pathlib import Path

import torch

from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from model.frozen.metadata import FILE, Member, WeightsMetadata, in_folder, write_metadata
from model.networks import build
from model.networks.system import System
from training.export.ensemble import joined
from training.export.graphs import ExportFacts, export

EXTRA = (
    TaskSpec("breast_lesion_det", TaskKind.DETECTION, 1),
    TaskSpec("fetal_head_biometry", TaskKind.REGRESSION, 4),
)
UNTRAINED = ("cervix", "FUGC")
TASKS = (*CATALOGUE.values(), *EXTRA)


def tiny_network(seed: int = 0) -> System:
    """Random weights from `seed`, in eval mode; heads scaled so that the image moves their outputs."""
    torch.manual_seed(seed)
    network = build("mh_mtl", TASKS, encoder="test_efficientnet", pyramid_channels=32, segmentation_channels=32)
    network.train()
    with torch.no_grad():
        for spec in (TASKS[0], CATALOGUE["thyroid_nodule_det"]):
            network(torch.randn(4, 3, 256, 256), spec.task_id)  # sets the batch norm statistics
    return network.eval()


def export_tiny(folder: Path, seed: int = 0) -> WeightsMetadata:
    """Export `tiny_network`; the heads of `UNTRAINED` answer with the prior."""
    trained = {spec.task_id: "random numbers" for spec in TASKS if spec.task_id not in UNTRAINED}
    facts = ExportFacts("tiny", "mh_mtl", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), trained_on=trained,
                        fallback={"thyroid_nodule_det": (0.1, 0.2, 0.3, 0.4)})  # fmt: skip
    return export(tiny_network(seed), facts, folder)


def export_tiny_ensemble(folder: Path, count: int = 2) -> WeightsMetadata:
    """Export `count` tiny networks of different seeds that answer together."""
    members = []
    for seed in range(count):
        name = f"member-{seed + 1}"
        written = export_tiny(folder / name, seed)
        digest = hashlib.sha256((folder / name / FILE).read_bytes()).hexdigest()
        members.append(Member(name, digest, in_folder(written, name)))
    metadata = joined(members, [member.folder for member in members], {})
    write_metadata(metadata, folder)
    return metadata
