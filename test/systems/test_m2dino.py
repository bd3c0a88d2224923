import pytest
import timm
import torch
from systems.system_mixin import SystemMixin, count, on_meta, run

from challenge.errors import UserError
from challenge.tasks import CATALOGUE
from model.networks import build
from model.networks.blocks.moe import MixtureOfExperts, balance_loss

VIT = {"embed_dim": 32, "depth": 4, "num_heads": 2}
# Layer scale 1e-5 would hide the experts from the outputs of untrained networks.
TINY = {"encoder_options": {**VIT, "init_values": 1.0}, "task_width": 8, "channels": 16, "widths": (8, 8, 16, 16),
        "jitter": 0.3}  # fmt: skip


class TestM2DINO(SystemMixin):
    name, options = "m2dino", TINY

    def may_rest(self, parameter_name):
        return ".experts." in parameter_name  # an expert that no token of a batch chose


@pytest.fixture
def mixture():
    torch.manual_seed(0)
    return MixtureOfExperts(torch.nn.Linear(6, 6), 6, 3, num_experts=4, chosen=2, jitter=0.5)


@pytest.fixture
def tokens():
    return torch.randn(3, 7, 6), torch.randn(3, 3)


@pytest.mark.parametrize(
    ("encoder", "experts", "total", "added"),
    [
        ("vit_small_patch16_dinov3", 4, 42_867_672, 21_280_728),
        ("vit_small_patch16_dinov3", 8, 71_236_080, 49_649_136),
        ("vit_base_patch16_dinov3", 4, 170_666_712, 85_025_496),
    ],
)
def test_backbone_sizes(encoder, experts, total, added):
    network = on_meta("m2dino", encoder=encoder, experts=experts)
    assert count(network.trunk) + count(network.expert_layers) == total
    with torch.device("meta"):
        assert total - count(timm.create_model(encoder, num_classes=0)) == added


def test_the_27_tasks_have_their_own_count():
    assert count(on_meta("m2dino")) == 48_354_844


@torch.no_grad()
def test_experts_copied_from_the_ffn_reproduce_the_plain_backbone():
    torch.manual_seed(0)
    vit = timm.create_model("vit_small_patch16_dinov3", num_classes=0, **TINY["encoder_options"]).eval()
    for parameter in vit.parameters():
        parameter.copy_(torch.randn_like(parameter) * 0.2)
    network = build("m2dino", CATALOGUE.values(), **{**TINY, "jitter": 0.0}).eval()
    network.load_encoder(vit.state_dict())
    images = torch.randn(2, 3, 64, 64)
    _, last = network.expert_layers.tokens(network.trunk(images)[1], torch.tensor([0, 5]))
    torch.testing.assert_close(last, vit.forward_features(images), atol=1e-5, rtol=1e-5)


def test_weights_of_another_vit_are_refused():
    network = build("m2dino", CATALOGUE.values(), **TINY)
    with pytest.raises(UserError, match="same ViT"):
        network.load_encoder({})


def test_other_backbones_are_refused():
    for encoder in ("resnet18", "vit_tiny_patch16_224", "vit_mini_dinov3"):
        with pytest.raises(UserError, match="DINOv3"):
            build("m2dino", CATALOGUE.values(), encoder=encoder)


def test_experts_that_differ_by_jitter_keep_differing_when_weights_are_loaded():
    vit = timm.create_model("vit_small_patch16_dinov3", num_classes=0, **TINY["encoder_options"])
    network = build("m2dino", CATALOGUE.values(), **TINY)
    network.load_encoder(vit.state_dict())
    first, second, *_ = network.expert_layers.blocks[0].mlp.experts
    assert not torch.equal(first.fc1.weight, second.fc1.weight)


def test_each_token_uses_exactly_k_distinct_experts_and_gates_sum_to_one(mixture, tokens):
    gates, experts, probabilities = mixture.route(*tokens)
    assert experts.shape == (3, 7, 2)
    assert (experts[..., 0] != experts[..., 1]).all()
    torch.testing.assert_close(gates.sum(dim=2), torch.ones(3, 7))
    load = torch.bincount(experts.flatten(), minlength=4)
    assert load.sum() == 3 * 7 * 2
    assert (probabilities.gather(2, experts).min(dim=2).values >= probabilities.median(dim=2).values).all()


def test_sparse_is_dense(mixture, tokens):
    gates, experts, _ = mixture.route(*tokens)
    torch.testing.assert_close(mixture.sparse(tokens[0], gates, experts), mixture.dense(tokens[0], gates, experts))


def test_experts_that_no_token_chose_get_no_gradient(mixture, tokens):
    with torch.no_grad():
        mixture.router.bias.copy_(torch.tensor([100.0, 100.0, -100.0, -100.0]))
    mixture(*tokens).sum().backward()
    moved = [any(p.grad is not None and p.grad.any() for p in expert.parameters()) for expert in mixture.experts]
    assert moved == [True, True, False, False]


def test_balance_loss_is_one_for_even_routing_and_more_otherwise():
    even = torch.full((1, 4, 4), 0.25)
    experts = torch.tensor([[[0, 1], [2, 3], [0, 1], [2, 3]]])
    torch.testing.assert_close(balance_loss(even, experts), torch.tensor(1.0))
    one = torch.tensor([1.0, 0, 0, 0]).expand(1, 4, 4)
    assert balance_loss(one, torch.zeros(1, 4, 1, dtype=torch.int64)) == 4


def test_balance_is_reported_once_per_training_pass():
    network = build("m2dino", CATALOGUE.values(), **TINY, balance_weight=0.1).train()
    assert network.auxiliary_loss() is None
    network(torch.randn(2, 3, 64, 64), "organ_cls")
    balance = network.auxiliary_loss()
    assert 0.09 <= balance < 0.4  # 1 for even use, up to 4 experts
    balance.backward()
    assert network.expert_layers.task_embedding.weight.grad.any()
    assert network.auxiliary_loss() is None


def test_routers_and_task_embedding_do_not_learn_at_the_encoders_rate():
    network = build("m2dino", CATALOGUE.values(), **TINY)
    encoder = {id(parameter) for parameter in network.encoder_parameters()}
    deep = dict(network.expert_layers.named_parameters())
    assert {name for name, p in deep.items() if id(p) not in encoder} == {
        "task_embedding.weight",
        *(f"blocks.{i}.mlp.router.{kind}" for i in range(2) for kind in ("weight", "bias")),
    }


@torch.no_grad()
def test_the_shared_half_of_the_layers_does_not_see_the_task():
    network = build("m2dino", CATALOGUE.values(), **TINY).eval()
    assert len(network.trunk.vit.blocks) == len(network.expert_layers.blocks) == 2
    assert "task" not in network.stages["encoder"].inputs
    images = torch.randn(1, 3, 64, 64)
    assert not torch.equal(run(network, images, "lung", [0]), run(network, images, "lung", [1]))


@pytest.mark.slow
@torch.no_grad()
def test_whole_size():
    network = build("m2dino", CATALOGUE.values()).eval()
    images = torch.randn(1, 3, 256, 256)
    assert network(images, "cardiac_multi").shape == (1, 4, 256, 256)
    assert network(images, "organ_cls").shape == (1, 6)
