"""What every system must do. A test class names the system and a small configuration; the rest is here."""

from contextlib import suppress

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from challenge.tasks import CATALOGUE, TaskKind
from model.frozen.router import Router
from model.frozen.runtimes.base import ProviderError
from model.frozen.runtimes.onnx import OnnxRuntime
from model.frozen.runtimes.openvino import OpenVinoRuntime
from model.networks import build
from model.networks.system import IMAGES, OUTPUT, TASK
from training.export.graphs import ExportFacts, export

ONE_OF_EACH = ("cardiac_multi", "organ_cls", "thyroid_nodule_det", "IUGC")
ALL = tuple(CATALOGUE.values())
EXPORTED = (*ONE_OF_EACH, "breast_lesion")


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(name, tasks=ALL, **options):
    """Build without allocating memory, to count parameters."""
    with torch.device("meta"):
        return build(name, tasks, **options)


def run(network, images, task_id, indices=None):
    """Run the path of `task_id`; `indices` gives each image another task index than the path's own."""
    values = {IMAGES: images}
    if network.indices:
        own = torch.full((len(images),), network.indices[task_id])
        values[TASK] = own if indices is None else torch.tensor(indices)
    for name in network.paths[task_id]:
        stage = network.stages[name]
        result = stage.module(*(values[key] for key in stage.inputs))
        values.update(zip(stage.outputs, (result,) if isinstance(result, torch.Tensor) else result, strict=True))
    return values[OUTPUT]


def runtimes(folder, graphs):
    """Yield the runtimes of this machine."""
    yield OnnxRuntime(folder, graphs)
    for precision in ("float32", "bfloat16"):
        with suppress(ProviderError):
            yield OpenVinoRuntime(folder, graphs, precision)


class SystemMixin:
    name: str
    options: dict
    size = 64
    prompted_tasks: tuple[str, ...] = ONE_OF_EACH
    """Those whose output changes with the task index alone."""
    noise = 1e-5
    """How much float32 may change an answer with the size of the batch."""

    def make(self, tasks=ALL, seed=0):
        torch.manual_seed(seed)
        return build(self.name, tasks, **self.options)

    def images(self, number, seed=0):
        return torch.randn(number, 3, self.size, self.size, generator=torch.Generator().manual_seed(seed))

    @pytest.fixture(scope="class")
    def network(self, request):
        network = request.cls().make().train()
        with torch.no_grad():
            for task_id in ONE_OF_EACH:  # sets batch norm statistics
                network(self.images(4), task_id)
        return network.eval()

    @torch.no_grad()
    def test_raw_outputs_have_the_documented_shapes(self, network):
        images = self.images(2)
        for task_id, spec in CATALOGUE.items():
            output = network(images, task_id)
            assert output.isfinite().all()
            match spec.kind:
                case TaskKind.SEGMENTATION | TaskKind.DETECTION:
                    channels = spec.num_classes if spec.kind is TaskKind.SEGMENTATION else 5
                    assert output.shape[:2] == (2, channels)
                    assert output.shape[2] == output.shape[3] <= self.size
                    assert self.size % output.shape[2] == 0
                case TaskKind.CLASSIFICATION:
                    assert output.shape == (2, spec.num_classes)
                case TaskKind.REGRESSION:
                    assert output.shape == (2, 2 * spec.num_classes)
            if spec.kind is TaskKind.DETECTION:
                assert 0 <= output[:, :4].min() <= output[:, :4].max() <= 1

    @torch.no_grad()
    def test_every_output_depends_on_the_image(self, network):
        images = self.images(2)
        for task_id in ONE_OF_EACH:
            first, second = network(images, task_id)
            assert (first - second).abs().max() > 1e-4, task_id

    def test_gradient_reaches_every_parameter_of_the_tasks_path_and_no_other(self):
        network = self.make().train()
        reached = set()
        for task_id in ONE_OF_EACH:
            network.zero_grad()
            output = network(self.images(4), task_id)
            (output * torch.randn_like(output)).sum().backward()
            modules = [network.stages[name].module for name in network.paths[task_id]]
            expected = {id(parameter) for module in modules for parameter in module.parameters()}
            for name, parameter in network.named_parameters():
                has_gradient = parameter.grad is not None and bool((parameter.grad != 0).any())
                if has_gradient:
                    reached.add(id(parameter))
                assert id(parameter) in expected or not has_gradient, f"{task_id} moves {name}"
                if id(parameter) in expected and not self.may_rest(name):
                    assert has_gradient, f"{task_id} does not train {name}"
        untrained = [
            name
            for name, parameter in network.named_parameters()
            if id(parameter) not in reached and not name.startswith("heads.")
        ]
        assert untrained == []

    def may_rest(self, parameter_name):
        """Whether a parameter may go without gradient for one batch of one task."""
        return False

    def test_every_parameter_lies_on_a_path_and_in_one_optimiser_group(self, network):
        modules = {name: network.stages[name].module for path in network.paths.values() for name in path}
        on_paths = {id(parameter) for module in modules.values() for parameter in module.parameters()}
        assert on_paths == {id(parameter) for parameter in network.parameters()}
        grouped = [id(p) for p in (*network.encoder_parameters(), *network.other_parameters())]
        assert sorted(grouped) == sorted(on_paths)

    @torch.no_grad()
    def test_the_task_changes_the_output(self, network):
        assert bool(self.prompted_tasks) is bool(network.indices)
        images = self.images(2)
        for task_id in self.prompted_tasks:
            own = run(network, images, task_id)
            other = run(network, images, task_id, [network.indices["liver_lesion_2cls"]] * 2)
            assert (own - other).abs().max() > 1e-5, task_id

    @torch.no_grad()
    def test_eval_mode_is_deterministic(self, network):
        for task_id in ONE_OF_EACH:
            assert torch.equal(network(self.images(2), task_id), network(self.images(2), task_id))

    @torch.no_grad()
    def test_an_image_gets_the_same_answer_alone_and_in_a_batch_of_mixed_tasks(self, network):
        images = self.images(8)
        mixed = list(range(3, 27, 3))
        for task_id in ONE_OF_EACH:
            for indices in (None, mixed) if network.indices else (None,):
                together = run(network, images, task_id, indices)
                for i in range(8):
                    alone = run(network, images[i : i + 1], task_id, indices and indices[i : i + 1])
                    torch.testing.assert_close(together[i : i + 1], alone, atol=self.noise, rtol=1e-4)

    @torch.no_grad()
    def test_tasks_in_one_batch_get_the_answers_that_they_get_alone_and_share_the_encoder(self, network):
        images = {task_id: self.images(number, seed=number) for number, task_id in enumerate(ONE_OF_EACH, 1)}
        seen = []
        with network.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0]))):
            found = network.supervised_mixed(images)
        assert seen == [10]
        assert found.keys() == images.keys()
        for task_id, own in images.items():
            torch.testing.assert_close(found[task_id][0], network(own, task_id), atol=self.noise, rtol=1e-4)

    @torch.no_grad()
    def test_the_task_of_one_image_leaves_the_others_alone(self, network):
        for task_id in self.prompted_tasks:
            before = run(network, self.images(3), task_id, [1, 2, 3])
            after = run(network, self.images(3), task_id, [9, 2, 3])
            torch.testing.assert_close(before[1:], after[1:], atol=1e-6, rtol=0)
            assert not torch.allclose(before[0], after[0], atol=1e-6, rtol=0), task_id

    @torch.no_grad()
    def test_state_dict_survives_safetensors(self, network, tmp_path):
        save_file(network.state_dict(), tmp_path / "network.safetensors")
        other = self.make(seed=1).eval()
        assert not torch.equal(network(self.images(1), "IUGC"), other(self.images(1), "IUGC"))
        other.load_state_dict(load_file(tmp_path / "network.safetensors"))
        for task_id in ONE_OF_EACH:
            assert torch.equal(network(self.images(1), task_id), other(self.images(1), task_id))

    @pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
    @torch.no_grad()
    def test_onnx_and_torch_agree_for_every_kind(self, tmp_path):
        network = self.make([CATALOGUE[task_id] for task_id in EXPORTED]).train()
        for task_id in EXPORTED:
            network(self.images(4), task_id)
        facts = ExportFacts(
            "tiny", self.name, (0.5,) * 3, (0.25,) * 3, self.size, trained_on=dict.fromkeys(EXPORTED, "x")
        )
        written = export(network.eval(), facts, tmp_path)
        assert {task_id: task.index for task_id, task in written.tasks.items()} == {
            task_id: network.indices.get(task_id) for task_id in EXPORTED
        }
        assert written.graphs["encoder"].inputs == (IMAGES,)  # so it runs once for all tasks of an image
        pixels = np.random.default_rng(0).integers(0, 256, (3, self.size, self.size, 3), dtype=np.uint8)
        images = (torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        wanted = [list(EXPORTED), ["breast_lesion", "IUGC"], ["organ_cls", "cardiac_multi"]]
        for runtime in runtimes(tmp_path, written.graphs):
            exact = runtime.precision == "float32"
            seen = set()
            for task_id, numbers, frozen in Router(written, runtime).run(pixels, wanted):
                expected = network(images[numbers], task_id).numpy()
                tolerance = 1e-4 if exact else 0.2 * max(1, np.abs(expected).max())
                np.testing.assert_allclose(
                    frozen, expected, atol=tolerance, rtol=1e-3, err_msg=f"{task_id} by {runtime.name}"
                )
                seen.add(task_id)
            assert seen == set(EXPORTED)
