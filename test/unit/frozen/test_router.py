from collections import Counter

import numpy as np
import pytest

from model.frozen.metadata import Graph, TaskMetadata, WeightsMetadata, read_metadata
from model.frozen.router import Router
from model.frozen.runtimes.onnx import OnnxRuntime


class Counting:
    """A runtime that counts how many images pass each graph."""

    def __init__(self, inner):
        self.inner, self.images = inner, Counter()

    def run(self, graph, inputs):
        self.images[graph] += len(next(iter(inputs.values())))
        return self.inner.run(graph, inputs)


@pytest.fixture(scope="module")
def parts(tiny_weights):
    metadata = read_metadata(tiny_weights)
    return metadata, OnnxRuntime(tiny_weights, metadata.graphs, "cpu")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)


def answers(router, images, tasks):
    return {
        (number, task_id): output
        for task_id, numbers, outputs in router.run(images, tasks)
        for number, output in zip(numbers, outputs, strict=True)
    }


def test_encoder_runs_once_per_image_and_the_pyramid_only_where_needed(parts, images):
    metadata, runtime = parts
    counting = Counting(runtime)
    tasks = [["breast_lesion", "breast_2cls", "breast_3cls"], ["organ_cls"], ["breast_lesion"], ["IUGC"]]
    answers(Router(metadata, counting), images, tasks)
    assert counting.images == {
        "encoder": 4, "pyramid": 2, "head.breast_lesion": 2, "head.breast_2cls": 1,
        "head.breast_3cls": 1, "head.organ_cls": 1, "head.IUGC": 1,
    }  # fmt: skip


def test_every_answer_is_that_of_the_image_alone(parts, images):
    router = Router(*parts)
    tasks = [["breast_lesion", "organ_cls"], ["IUGC"], ["organ_cls", "thyroid_nodule_det"], ["breast_lesion"]]
    together = answers(router, images, tasks)
    assert set(together) == {(number, task_id) for number, names in enumerate(tasks) for task_id in names}
    for (number, task_id), output in together.items():
        alone = answers(router, images[number : number + 1], [[task_id]])[0, task_id]
        np.testing.assert_allclose(output, alone, atol=1e-4)


def test_images_without_tasks_cost_nothing(parts, images):
    metadata, runtime = parts
    counting = Counting(runtime)
    assert answers(Router(metadata, counting), images, [[], [], [], []]) == {}
    answers(Router(metadata, counting), images, [[], ["organ_cls"], [], []])
    assert counting.images == {"encoder": 1, "head.organ_cls": 1}


def test_graph_with_a_task_input_runs_per_task_and_shares_what_comes_before(parts):
    class Prompted:
        def __init__(self):
            self.images = Counter()

        def run(self, graph, inputs):
            self.images[graph] += len(next(iter(inputs.values())))
            if graph == "trunk":
                return {"features": inputs["images"].astype(np.float32).mean(axis=(1, 2, 3))}
            return {"output": inputs["features"] + 1000 * inputs["task"]}

    metadata, _ = parts
    spec = metadata.tasks["organ_cls"].spec
    graphs = {
        "trunk": Graph("", "", ("images",), ("features",)),
        "head": Graph("", "", ("features", "task"), ("output",)),
    }
    path = ("trunk", "head")
    tasks = {"a": TaskMetadata(spec, path, "network", index=1), "b": TaskMetadata(spec, path, "network", index=2)}
    prompted = WeightsMetadata(**{**vars(metadata), "graphs": graphs, "tasks": tasks})
    runtime = Prompted()
    images = np.stack([np.full((2, 2, 3), value, np.uint8) for value in (10, 20)])
    result = answers(Router(prompted, runtime), images, [["a", "b"], ["b"]])
    assert result == {(0, "a"): 1010, (0, "b"): 2010, (1, "b"): 2020}
    assert runtime.images == {"trunk": 2, "head": 3}
