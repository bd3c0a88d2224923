"""How often images pass through an encoder."""

from dataclasses import replace

from challenge.manifest import Row, Sample
from challenge.tasks import CATALOGUE
from model.frozen.cost import Cost
from model.frozen.loading import plan
from model.frozen.metadata import read_metadata
from model.frozen.outputs.postprocess import Postprocess, Postprocessing


def samples(*pairs):
    specs = [(name, CATALOGUE[task_id]) for name, task_id in pairs]
    return [Sample(name, s.task_id, s.kind, s.num_classes, Row("rows.csv", n)) for n, (name, s) in enumerate(specs)]


def test_networks_times_views_over_the_images(tiny_weights):
    metadata = read_metadata(tiny_weights)
    views = {"lung": ("flip",), "breast_lesion": ("flip", "scale 1.2")}
    tasks = {
        task_id: replace(task, postprocessing=Postprocessing(views=views.get(task_id, ())))
        for task_id, task in metadata.tasks.items()
    }
    metadata = replace(metadata, tasks=tasks)
    batches = plan(samples(("a.png", "lung"), ("a.png", "breast_lesion"), ("b.png", "organ_cls")), 4)
    assert Cost.of(metadata, Postprocess.VIEWS, batches) == Cost(1, 3, 2.0)
    assert Cost.of(metadata, Postprocess.FLIP, batches) == Cost(1, 2, 1.5)
    assert Cost.of(metadata, Postprocess.LOOK, batches) == Cost(1, 1, 1.0)
    assert Cost.of(metadata, Postprocess.LOOK, []) == Cost(1, 1, 0.0)


def test_the_line_of_the_log():
    assert str(Cost(3, 2, 6.0)) == "3 networks, 2 views: about 6 times the encoder's work"
    assert str(Cost(1, 1, 1.0)) == "1 network, 1 view: about 1 times the encoder's work"
