"""The runtimes' table: a row per kind that the network answers, a column per runtime that works here."""

from click.testing import CliRunner
from tiny import export_tiny

from bench import runtimes as module
from bench.__main__ import command_line
from model.frozen.runtimes.base import ProviderError


def test_every_kind_is_timed_in_each_runtime_that_works(tmp_path, monkeypatch, caplog):
    export_tiny(tmp_path)

    def refuse(folder, graphs, precision="float32"):
        raise ProviderError(f"no {precision} in this test")

    monkeypatch.setattr(module, "OpenVinoRuntime", refuse)
    arguments = ["runtimes", "--weights", str(tmp_path), "--rounds", "1", "--batch-size", "2"]
    printed = CliRunner().invoke(command_line(), arguments, catch_exceptions=False).stdout
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    assert lines[0] == "| CPU ms per image | onnxruntime float32 |"
    assert [line.split(" ")[1] for line in lines[2:]] == ["segmentation", "classification", "detection", "regression"]
    assert all(float(line.split("|")[2]) > 0 for line in lines[2:])
    assert "OpenVINO bfloat16 is left out: no bfloat16 in this test" in caplog.text
