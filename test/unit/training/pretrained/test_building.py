"""How the heads of a new network start, by what its losses supervise."""

import pytest
import torch
from unit.training.recipes import network_of, tiny_config

from challenge.tasks import CATALOGUE
from model.networks.heads.pooled import OBJECT_PRIOR
from training.config import EncoderConfig, OptimConfig
from training.pretrained.building import frozen_parameters

ATLAS = {"name": "atlas", "options": {"encoder": "test_efficientnet", "pyramid_channels": 32, "channels": 32}}


@pytest.mark.parametrize("loss", ["focal_grid", "focal_grid_giou", "positive_cell", "one_box"])
@pytest.mark.parametrize("system", ["mh_mtl", "atlas"])
def test_objects_start_rare_if_the_whole_grid_is_supervised(system, loss):
    sections = {"system": ATLAS} if system == "atlas" else {}
    network = network_of(tiny_config(**sections, loss={"detection": loss}), [CATALOGUE["thyroid_nodule_det"]], {})
    task_id = "thyroid_nodule_det"
    last = network.heads[task_id].maps[-1] if system == "atlas" else network.stages[f"head.{task_id}"].module.predict
    bias = last.bias[4].item()
    assert (bias == pytest.approx(OBJECT_PRIOR)) is loss.startswith("focal")


def test_points_start_at_their_tasks_training_means():
    means = {"IUGC": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]}
    network = network_of(tiny_config(), [CATALOGUE["IUGC"], CATALOGUE["FUGC"]], means)
    heads = [network.stages[f"head.{task_id}"].module.regress.bias.tolist() for task_id in ("IUGC", "FUGC")]
    assert heads[0] == pytest.approx(means["IUGC"])
    assert heads[1] != pytest.approx(means["IUGC"][:4])
    assert not torch.tensor(heads[1]).isnan().any()


def test_parts_outside_the_encoder_can_be_fixed_too():
    network = network_of(tiny_config(), [CATALOGUE["lung"]], {})
    frozen = frozen_parameters(network, EncoderConfig(frozen=("pyramid", "backbone.conv_stem")), OptimConfig())
    pyramid = {id(parameter) for parameter in network.pyramid.parameters()}
    assert pyramid < {id(parameter) for parameter in frozen}
    assert len(frozen) == len(pyramid) + 1
