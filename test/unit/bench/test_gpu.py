"""`python -m bench gpu`: without a GPU one sentence; its tables; and the whole command with CPU runs in its place."""

import json

import pytest
from click.testing import CliRunner

from bench import gpu as module
from bench.__main__ import command_line
from bench.contenders import ours
from bench.gpu import REFERENCE, contenders, holds, memory_table, rule_table, write_part
from bench.measuring.gpu_memory import GpuMemory
from bench.rows import write_phantoms
from challenge.manifest import read_manifest
from challenge.paths import find_image


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    folder = tmp_path_factory.mktemp("truth") / "data"
    write_phantoms(folder, truth=True)
    return folder


def test_without_a_gpu_nothing_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "why_no_cuda", lambda: "no CUDA device is visible")
    done = CliRunner().invoke(command_line(), ["gpu", "--data-root", str(tmp_path)])
    assert done.exit_code == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("nothing was measured, because no CUDA device is visible; repeat the command on a machine")


def test_every_precision_is_measured_in_every_batch_size(tmp_path):
    found = contenders(tmp_path, (4, 32), tmp_path / "engines")
    assert [rival.name for rival in found[:3]] == [
        REFERENCE,
        "GPU, float32, batches of 4",
        "GPU, float32, batches of 32",
    ]
    assert len(found) == 1 + 4 * 2
    assert [rival.optional for rival in found] == [False] + 8 * [True]
    command = list(map(str, found[-1].command(tmp_path, tmp_path, tmp_path)))
    assert command[command.index("--tensorrt") + 1] == str(tmp_path / "engines")


def test_a_part_has_evenly_spaced_rows_of_every_task_with_their_truth(truth, tmp_path):
    write_part(truth, tmp_path / "part", 1)
    part = read_manifest(tmp_path / "part", truth=True).samples
    assert {sample.task_id for sample in part} == {sample.task_id for sample in read_manifest(truth).samples}
    assert len(part) == len({sample.task_id for sample in part})
    for sample in part:
        assert find_image(tmp_path / "part", sample.image_path).is_file()
        assert sample.mask_file is None or (tmp_path / "part" / sample.mask_file).is_file()
    write_part(truth, tmp_path / "whole", 0)
    assert len(read_manifest(tmp_path / "whole").samples) == len(read_manifest(truth).samples)


def test_the_rule_is_0_2_points_or_pixels():
    scores = {
        REFERENCE: {"lung": ("DSC", 90.0), "IUGC": ("MRE", 5.0)},
        "near": {"lung": ("DSC", 89.85), "IUGC": ("MRE", 5.1)},
        "far": {"lung": ("DSC", 90.1), "IUGC": ("MRE", 5.3)},
    }
    assert [holds(scores[REFERENCE], scores[name]) for name in ("near", "far")] == [True, False]
    lines = rule_table(scores).splitlines()
    assert lines[2:] == [
        "| `lung` | DSC | 90.00 | -0.15 | +0.10 |",
        "| `IUGC` | MRE | 5.00 | +0.10 | +0.30 |",
        "| changes of at most 0.2 | | | yes | no |",
    ]


def test_memory_that_nobody_saw_is_unknown():
    assert memory_table({"a": None, "b": 1234.4}).splitlines()[2:] == ["| a | unknown |", "| b | 1234 MiB |"]


def test_the_most_memory_since_the_last_look(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '100\\n700\\n300\\n'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with GpuMemory() as memory:
        memory._process.wait()
        memory._thread.join()
        assert (memory.take(), memory.take()) == (700, 0)


@pytest.mark.slow
def test_the_whole_command(monkeypatch, tmp_path, truth, tiny_weights):
    """Float32 against itself, and against a contender that refuses."""

    def rivals(weights, batch_sizes, tensorrt):
        options = ("--device", "cpu", "--precision")
        return [
            ours(REFERENCE, weights, 4, *options, "float32"),
            ours("again", weights, 4, *options, "float32", optional=True),
            ours("refused", weights, 4, *options, "tf32", optional=True),
        ]

    monkeypatch.setattr(module, "why_no_cuda", lambda: None)
    monkeypatch.setattr(module, "contenders", rivals)
    arguments = ["gpu", "--weights", tiny_weights, "--data-root", truth, "--per-task", 1, "--rows", 40, "--rounds", 1,
                 "--json", tmp_path / "gpu.json"]  # fmt: skip
    done = CliRunner().invoke(command_line(), list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    assert "| refused | not offered: --precision tf32 needs a GPU" in done.stdout
    assert "| changes of at most 0.2 | | | yes |" in done.stdout
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["agreement"]["again"]["mask_share"] == 1
    assert found["scores"][REFERENCE] == found["scores"]["again"]
