import pytest
import torch

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from model.networks import build

SIZE = 256


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def expected_shape(spec, size):
    match spec.kind:
        case TaskKind.SEGMENTATION:
            return (1, spec.num_classes, size, size)
        case TaskKind.CLASSIFICATION:
            return (1, spec.num_classes)
        case TaskKind.DETECTION:
            return (1, 5, size // 4, size // 4)
        case TaskKind.REGRESSION:
            return (1, 2 * spec.num_classes)


@pytest.fixture(scope="module")
def b4():
    return build("mh_mtl", CATALOGUE.values()).eval()


def test_parameter_counts_are_those_published(b4):
    tail = 448 * 1792 + 2 * 1792  # convolution and batch norm before a classifier, which nothing uses
    assert parameters(b4) == 20_268_076 - tail == 19_461_676
    assert parameters(b4.encoder) == 17_548_616 - tail
    assert parameters(b4.pyramid) == 1_803_008
    assert parameters(b4.heads) == 916_452


def test_encoder_and_other_parameters_are_all_parameters_once(b4):
    groups = [*b4.encoder_parameters(), *b4.other_parameters()]
    assert len({id(parameter) for parameter in groups}) == len(groups)
    assert {id(parameter) for parameter in groups} == {id(parameter) for parameter in b4.parameters()}


def test_shapes_of_all_tasks(b4):
    with torch.no_grad():
        maps = b4.stages["encoder"].module(torch.rand(1, 3, SIZE, SIZE))
        dense = b4.stages["pyramid"].module(*maps)
        assert [tuple(m.shape) for m in maps] == [(1, 32, 64, 64), (1, 56, 32, 32), (1, 160, 16, 16), (1, 448, 8, 8)]
        assert dense.shape == (1, 128, 64, 64)
        for task_id, spec in CATALOGUE.items():
            head = b4.stages[f"head.{task_id}"].module
            output = head(dense if spec.kind.is_dense else maps[-1])
            assert output.shape == expected_shape(spec, SIZE), task_id


def test_global_tasks_skip_the_pyramid(b4):
    for task_id, spec in CATALOGUE.items():
        assert ("pyramid" in b4.paths[task_id]) == spec.kind.is_dense


# A plain timm ResNet, an EfficientNet with other channels, and a transformer-like pyramid of another kind.
@pytest.mark.parametrize("encoder", ["resnet18", "test_efficientnet", "test_convnext"])
def test_any_timm_pyramid_serves_as_encoder(encoder):
    extra = TaskSpec("my_task", TaskKind.REGRESSION, 4)
    tasks = [CATALOGUE["cardiac_multi"], CATALOGUE["organ_cls"], CATALOGUE["thyroid_nodule_det"], extra]
    network = build("mh_mtl", tasks, encoder=encoder, pyramid_channels=32, segmentation_channels=32).eval()
    with torch.no_grad():
        for spec in tasks:
            assert network(torch.rand(1, 3, 64, 64), spec.task_id).shape == expected_shape(spec, 64)


def test_padding_for_another_size_changes_the_convolutions_that_would_see_an_odd_map():
    options = {"encoder": "tf_efficientnet_lite0", "pyramid_channels": 32, "segmentation_channels": 32}
    tasks = [CATALOGUE["organ_cls"]]
    network = build("mh_mtl", tasks, **options).eval()
    # 190: the stem sees 190 rows, the next strided convolution 95, the others 48, 24, 12.
    padded = build("mh_mtl", tasks, **options, same_padding_size=190).eval()
    padded.load_state_dict(network.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before, after = (n.encoder.backbone.bn1(n.encoder.backbone.conv_stem(image)) for n in (network, padded))
        torch.testing.assert_close(before, after)
        own, other = network.encoder(image), padded.encoder(image)
    assert [a.shape for a in own] == [b.shape for b in other]
    second = padded.encoder.backbone.get_submodule("blocks.1.0.conv_dw")
    assert second.padding == (second.kernel_size[0] // 2,) * 2
    assert (own[0] - other[0]).abs().max() > 1e-3


def test_unknown_encoders_and_options_are_named():
    with pytest.raises(UserError, match="no_such_net"):
        build("mh_mtl", CATALOGUE.values(), encoder="no_such_net")
    with pytest.raises(UserError, match="strides"):
        build("mh_mtl", CATALOGUE.values(), encoder="vit_tiny_r_s16_p8_224")
    with pytest.raises(UserError, match="depth"):
        build("mh_mtl", CATALOGUE.values(), depth=3)
