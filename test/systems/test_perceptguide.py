import pytest
import torch
from systems.system_mixin import ONE_OF_EACH, SystemMixin, count, on_meta, run

from challenge.errors import UserError
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from model.networks import build
from model.networks.blocks.swin import HyperPerception
from model.networks.prompts import PERCEPTGUIDE

TINY = {"channels": 8, "depths": (1, 2, 1, 1), "heads": (1, 2, 2, 4), "window": 2, "drop_path": 0.0}
MASK, CLASSES = TaskSpec("mask", TaskKind.SEGMENTATION, 2), TaskSpec("classes", TaskKind.CLASSIFICATION, 2)
PUBLISHED = [MASK, CLASSES]


def with_effect(network):
    """Make prompts matter in an untrained network: in both forms they start with (almost) no effect."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, HyperPerception):
                for embed in module.embed:
                    embed.weight.copy_(torch.randn_like(embed.weight))
                if module.alpha is not None:
                    module.alpha.fill_(3.0)
    return network


class TestPerceptGuide(SystemMixin):
    name, options = "perceptguide", TINY

    def make(self, *args, **kwargs):
        return with_effect(super().make(*args, **kwargs))


class TestAdditive(SystemMixin):
    name, options = "perceptguide", {**TINY, "form": "additive"}

    def make(self, *args, **kwargs):
        network = super().make(*args, **kwargs)
        with torch.no_grad():
            for parameter in network.prompt_parameters():
                parameter.normal_()
        return network

    def may_rest(self, parameter_name):
        return parameter_name.startswith(("added.wide", "added.narrow"))  # each branch uses one of them


class TestAdditiveWithoutPrompts(SystemMixin):
    name, options, prompted_tasks = "perceptguide", {**TINY, "form": "additive", "prompts": False}, ()


class TestWithoutPrompts(SystemMixin):
    name, options, prompted_tasks = "perceptguide", {**TINY, "prompts": False}, ()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"form": "published"}, 66_288_068),
        ({"form": "published", "prompts": False}, 66_183_236),
        ({"form": "published", "window": 8}, 66_305_204),
        # One factor for each head of the 12 guided blocks: 2 x (12 + 6 + 3) and 2 x (24 + 12 + 6).
        ({"form": "corrected"}, 66_288_068 + 126),
        ({"form": "additive"}, 65_043_716),
        ({"form": "additive", "prompts": False}, 65_020_676),
        ({"form": "additive", "window": 8}, 65_060_852),
    ],
)
def test_published_sizes(options, expected):
    assert count(on_meta("perceptguide", PUBLISHED, vocabulary="published", **options)) == expected


@pytest.mark.parametrize(("prompts", "expected"), [(True, 65_044_488), (False, 65_021_448)])
def test_the_baseline_of_uusic_has_a_4_way_head_besides(prompts, expected):
    tasks = [*PUBLISHED, TaskSpec("four", TaskKind.CLASSIFICATION, 4)]
    network = on_meta("perceptguide", tasks, vocabulary="published", form="additive", prompts=prompts)
    assert count(network) == expected
    assert sum(parameter.numel() for parameter in network.prompt_parameters()) == (23_040 if prompts else 0)


@torch.no_grad()
def test_each_added_prompt_reaches_the_branches_that_use_it():
    torch.manual_seed(0)
    network = build("perceptguide", PUBLISHED, **TINY, vocabulary="published", form="additive").eval()
    images = torch.randn(1, 3, 64, 64)
    before = {task.task_id: network(images, task.task_id) for task in PUBLISHED}
    reached = {"deep": {"mask", "classes"}, "wide": {"classes"}, "middle": {"mask", "classes"}, "narrow": {"mask"}}
    for name, tasks in reached.items():
        bias = network.added.get_submodule(name).bias
        bias += torch.linspace(-1, 1, len(bias))
        changed = {t for t, answer in before.items() if (network(images, t) - answer).abs().max() > 1e-5}
        assert changed == tasks, name
        bias -= torch.linspace(-1, 1, len(bias))


def test_prompt_size():
    network = on_meta("perceptguide", PUBLISHED, vocabulary="published", form="published")
    guides = [module for module in network.modules() if isinstance(module, HyperPerception)]
    assert len(guides) == 12
    assert sum(count(guide) for guide in guides) == 104_832
    assert sum(len(list(guide.parameters())) for guide in guides) == 144
    # Without the hyper vectors: 22 of 26 C parameters a block.
    assert sum(parameter.numel() for parameter in network.prompt_parameters()) == 104_832 * 22 // 26


def test_the_27_tasks_have_their_own_count():
    assert count(on_meta("perceptguide")) == 66_849_669


def codes(number):
    one = [torch.eye(size)[torch.randint(size, (number,))] for size in PERCEPTGUIDE.sizes]
    return torch.cat(one, dim=1)


def matrix(guide, prompts):
    """The matrix between scaled queries and keys: (B, heads, d, d), W or 1 + alpha W."""
    hyper, embedded = guide(prompts)
    outer = hyper[..., None] * embedded[..., None, :]
    return outer if guide.alpha is None else torch.eye(outer.shape[-1]) + guide.alpha.view(-1, 1, 1) * outer


@pytest.mark.parametrize(("residual", "full_rank"), [(False, False), (True, True)])
@torch.no_grad()
def test_published_attention_has_rank_one_and_the_corrected_full_rank(residual, full_rank):
    torch.manual_seed(0)
    guide = HyperPerception(PERCEPTGUIDE.sizes, 64, 2, residual)
    for embed in guide.embed:
        embed.weight.normal_()
    if residual:
        guide.alpha.fill_(0.5)
    values = torch.linalg.svdvals(matrix(guide, codes(3)))
    assert values.shape == (3, 2, 32)
    assert ((values[..., 1] / values[..., 0] > 1e-5) == full_rank).all()
    assert not full_rank or (values[..., -1] > 1e-2).all()


@torch.no_grad()
def test_attention_uses_the_matrix():
    torch.manual_seed(0)
    for form in ("published", "corrected"):
        network = with_effect(build("perceptguide", PUBLISHED, **TINY, vocabulary="published", form=form))
        attention = network.global_branch.stages[0][0].attention
        q, k, prompt = torch.randn(2, 4, 4, 16), torch.randn(2, 4, 4, 16), codes(2)
        expected = q @ matrix(attention.guide, prompt) @ k.transpose(-2, -1)
        torch.testing.assert_close(attention._content(q, k, 1, prompt), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_alpha_at_zero_makes_every_prompt_equal():
    network = build("perceptguide", CATALOGUE.values(), **TINY).eval()
    images = torch.randn(1, 3, 64, 64)
    for task_id in ONE_OF_EACH:
        assert torch.equal(run(network, images, task_id, [0]), run(network, images, task_id, [20]))


def test_corrected_alpha_learns_from_the_first_step_on():
    torch.manual_seed(0)
    network = build("perceptguide", CATALOGUE.values(), **TINY).train()
    network(torch.randn(2, 3, 64, 64), "cardiac_multi").square().sum().backward()
    guides = [module for module in network.dense_branch.modules() if isinstance(module, HyperPerception)]
    assert len(guides) == 6
    assert all(guide.alpha.grad.abs().max() > 0 for guide in guides)


@torch.no_grad()
def test_published_prompts_hardly_matter_at_the_start():
    torch.manual_seed(0)
    guide = HyperPerception(PERCEPTGUIDE.sizes, 64, 2, residual=False)
    assert 0 < matrix(guide, codes(4)).abs().max() < 1e-4


@pytest.mark.parametrize("form", ["published", "corrected"])
@torch.no_grad()
def test_equal_prompts_give_the_same_answer_alone_and_in_a_batch(form):
    torch.manual_seed(0)
    network = with_effect(build("perceptguide", CATALOGUE.values(), **TINY, form=form).eval())
    images = torch.randn(3, 3, 64, 64)
    for task_id in ONE_OF_EACH:
        alone = torch.cat([network(images[i : i + 1], task_id) for i in range(3)])
        torch.testing.assert_close(network(images, task_id), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("form", "training", "right"), [
    ("published", True, False), ("published", False, True), ("corrected", True, True),
])  # fmt: skip
@torch.no_grad()
def test_the_published_form_mixes_up_prompts_in_the_dense_branch_in_training_alone(form, training, right):
    torch.manual_seed(0)
    network = with_effect(build("perceptguide", CATALOGUE.values(), **TINY, form=form).train(training))
    images, indices = torch.randn(3, 3, 64, 64), [0, 5, 20]
    for task_id, expected in (("cardiac_multi", right), ("organ_cls", True)):
        together = run(network, images, task_id, indices)
        alone = torch.cat([run(network, images[i : i + 1], task_id, indices[i : i + 1]) for i in range(3)])
        assert torch.allclose(together, alone, atol=1e-4, rtol=1e-4) is expected


@pytest.mark.parametrize("prompt", [0, 1, 2, 3], ids=["position", "task", "type", "nature"])
@torch.no_grad()
def test_each_of_the_four_prompts_matters(prompt):
    torch.manual_seed(0)
    network = with_effect(build("perceptguide", CATALOGUE.values(), **TINY).eval())
    table = network.dense_branch.prompts
    start = sum(table.vocabulary.sizes[:prompt])
    images = torch.randn(1, 3, 64, 64)
    before = {task_id: network(images, task_id) for task_id in ONE_OF_EACH}
    own = slice(start, start + table.vocabulary.sizes[prompt])
    table.codes[:, own] = table.codes[:, own].roll(1, dims=1)
    for task_id in ONE_OF_EACH:
        assert (network(images, task_id) - before[task_id]).abs().max() > 1e-5


def test_only_prompt_generators_are_trained_by_synchronisation():
    network = build("perceptguide", CATALOGUE.values(), **TINY)
    chosen = {id(parameter) for parameter in network.prompt_parameters()}
    names = [name for name, parameter in network.named_parameters() if id(parameter) in chosen]
    assert len(names) == 12 * 4 * 2
    assert all(".guide.embed." in name for name in names)


@torch.no_grad()
def test_shifted_windows_do_not_look_across_the_border():
    torch.manual_seed(0)
    network = build("perceptguide", PUBLISHED, **TINY, vocabulary="published", prompts=False).eval()
    shifted = network.backbone.stages[1][1]
    assert shifted.shift == 1
    features = torch.randn(1, 4, 4, 16)
    changed = features.clone()
    changed[:, -1, -1] += 1
    moved = (shifted(features) - shifted(changed)).abs().amax(dim=(0, 3)) > 1e-6
    assert moved.tolist() == [[False] * 4, [False] * 4, [False] * 4, [False] * 3 + [True]]


def test_sizes_that_do_not_fit_the_windows_are_refused():
    network = build("perceptguide", PUBLISHED, **TINY, vocabulary="published")
    with pytest.raises(UserError, match="multiple of 64"):
        network(torch.randn(1, 3, 96, 96), "mask")


@pytest.mark.slow
@pytest.mark.parametrize(("window", "size"), [(7, 224), (8, 256)])
@torch.no_grad()
def test_whole_size(window, size):
    network = build("perceptguide", PUBLISHED, window=window).eval()
    images = torch.randn(1, 3, size, size)
    assert network(images, "mask").shape == (1, 2, size, size)
    assert network(images, "classes").shape == (1, 2)
