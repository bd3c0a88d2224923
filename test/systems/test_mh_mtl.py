from systems.system_mixin import SystemMixin, count, on_meta

TINY = {"encoder": "test_efficientnet", "pyramid_channels": 32, "segmentation_channels": 32}


class TestMHMTL(SystemMixin):
    name, options, prompted_tasks = "mh_mtl", TINY, ()


def test_published_size_without_the_unused_classification_tail():
    assert count(on_meta("mh_mtl")) == 20_268_076 - 806_400
