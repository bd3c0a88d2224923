"""Several networks behind the interface of one."""

from dataclasses import replace

import numpy as np
import pytest
from tiny import export_tiny_ensemble

from model.frozen.ensemble import Ensemble, network_of
from model.frozen.metadata import TaskMetadata, read_metadata, verify, write_metadata
from model.frozen.outputs.joining import join
from model.frozen.router import Router
from model.frozen.runtimes.onnx import OnnxRuntime
from model.frozen.runtimes.openvino import OpenVinoRuntime

ASKED = [["lung", "organ_cls"], ["organ_cls", "IUGC"], ["thyroid_nodule_det"]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    export_tiny_ensemble(folder)
    return folder


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), np.uint8)


def outputs(router, images):
    return {task_id: (numbers, raw) for task_id, numbers, raw in router.run(images, ASKED)}


def test_its_outputs_are_those_of_the_members_joined(folder, images):
    metadata = read_metadata(folder)
    found = outputs(network_of(metadata, OnnxRuntime(folder, metadata.graphs)), images)
    several = []
    for name in ("member-1", "member-2"):
        own = read_metadata(folder / name)
        several.append(outputs(network_of(own, OnnxRuntime(folder / name, own.graphs)), images))
    assert found.keys() == several[0].keys() == {task_id for names in ASKED for task_id in names}
    for task_id, (numbers, raw) in found.items():
        assert all(numbers == one[task_id][0] for one in several)
        kind = metadata.tasks[task_id].spec.kind
        np.testing.assert_array_equal(raw, join(kind, [one[task_id][1] for one in several]))


def test_a_member_that_was_not_trained_on_a_task_is_left_out(folder, images):
    metadata = read_metadata(folder)
    first, second = metadata.members
    prior = TaskMetadata(metadata.tasks["lung"].spec, (), "prior")
    first = replace(first, metadata=replace(first.metadata, tasks={**first.metadata.tasks, "lung": prior}))
    runtime = OnnxRuntime(folder, metadata.graphs)
    found = outputs(Ensemble(replace(metadata, members=(first, second)), runtime), images)
    alone = outputs(Router(second.metadata, runtime), images)
    np.testing.assert_array_equal(found["lung"][1], alone["lung"][1])
    assert not np.array_equal(found["organ_cls"][1], alone["organ_cls"][1])


def test_it_runs_in_openvino_as_in_onnxruntime(folder, images):
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    metadata = read_metadata(folder)
    one, other = (
        outputs(Ensemble(metadata, runtime), images)
        for runtime in (OnnxRuntime(folder, metadata.graphs), OpenVinoRuntime(folder, metadata.graphs))
    )
    for task_id, (_, raw) in one.items():
        np.testing.assert_allclose(other[task_id][1], raw, atol=1e-3 * max(1, np.abs(raw).max()))


def test_metadata_are_read_back_equal_and_the_digest_covers_all_graphs(folder):
    metadata = read_metadata(folder)
    before = (folder / "weights.json").read_bytes()
    write_metadata(metadata, folder)
    assert (folder / "weights.json").read_bytes() == before
    assert read_metadata(folder) == metadata
    assert {graph.file for graph in metadata.graphs.values()} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx")
    }
    assert len(verify(metadata, folder)) == 64


def test_weights_of_one_network_keep_their_router(folder):
    own = read_metadata(folder / "member-1")
    assert type(network_of(own, OnnxRuntime(folder / "member-1", own.graphs))) is Router
