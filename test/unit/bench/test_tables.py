"""What the commands print, from known numbers; and the commands themselves on a tiny network."""

import json

import pytest
from click.testing import CliRunner
from PIL import Image

from bench.__main__ import command_line
from bench.agreement import Agreement
from bench.breakdown import Breakdown, draw
from bench.breakdown import table as breakdown_table
from bench.contenders import Summary
from bench.end_to_end import agreement_table, speed_table
from bench.measuring.machine import machine
from bench.measuring.stopwatch import Usage
from bench.scaling import Point
from bench.scaling import table as scaling_table
from bench.stages import STAGES

ONE = Breakdown("w, float32", 100, 2, {stage: 2.0 for stage in STAGES}, 1.4, 0.42, 1.9)


def columns(text):
    return {len(line.split("|")) for line in text.splitlines()}


def test_speed_table():
    found = {
        "A": Summary(Usage(100, 180, 900), None, [1, 1], 1),
        "B": Summary(Usage(20, 38, 400), 0.8, [4.9, 5.1], 4.7),
    }
    text = speed_table(found, {"C": "no such instructions"}, 1000, 750)
    assert "| A | 100.0 | 10.0 | 7.5 | **1.00** (1.00 to 1.00) | 180 | 1.00 | 900 MiB |  |" in text
    assert "| B | 20.0 | 50.0 | 37.5 | **5.00** (4.90 to 5.10) | 38 | 4.70 | 400 MiB | 0.8 s |" in text
    assert "| C | not offered: no such instructions |" in text
    assert len(columns(text)) == 1


def test_agreement_table():
    text = agreement_table({"B": Agreement(2e-6, 0.01, 0.002, 0.99995, 7), "b": Agreement(2e-3, 0.01, 0.002, 1, 7)})
    assert "| B | 2.0e-06 | 0.0100 px | 0.0020 px | 99.9950% | yes |" in text
    assert text.endswith("| no |")
    assert len(columns(text)) == 1


def test_breakdown_table_and_picture(tmp_path):
    text = breakdown_table([ONE, ONE])
    assert "| all stages | **14.0** | **14.0** |" in text
    assert "| all stages / cores: seconds | 0.7 | 0.7 |" in text
    assert "| ratio, whole run | 2.00 | 2.00 |" in text
    assert "| ratio, without start-up | 1.40 | 1.40 |" in text
    assert len(columns(text)) == 1
    draw([ONE, ONE], tmp_path / "p.png")
    assert len(Image.open(tmp_path / "p.png").convert("RGB").getcolors(1 << 20)) > len(STAGES)


def test_scaling_table():
    text = scaling_table([Point(1000, 750, 10, 400), Point(4000, 3000, 38, 420)])
    assert "| 4,000 | 3,000 | 1.33 | 38.0 | 105.3 | 78.9 | 420 MiB (x 1.05) |" in text
    assert len(columns(text)) == 1


def test_the_machine_is_named():
    assert {"processor", "cores", "load", "python", "torch", "numpy"} <= set(machine())


@pytest.mark.slow
def test_the_commands_on_a_tiny_network(tiny_weights, tmp_path):
    common = ["--rows", "24", "--json", str(tmp_path / "found.json")]
    weights = ["--weights", str(tiny_weights)]
    runs = {
        "end-to-end": ["--same-weights", str(tiny_weights), "--rounds", "2"],
        "breakdown": ["--precision", "float32", "--picture", str(tmp_path / "p.png")],
        "scaling": ["--images", "6"],
    }
    found = {}
    for name, options in runs.items():
        result = CliRunner().invoke(command_line(), [name, *weights, *common, *options], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        found[name] = json.loads((tmp_path / "found.json").read_text())
    assert found["end-to-end"]["agreement"]["B: ours, same weights, float32"]["holds"]
    assert {turn["round"] for turn in found["end-to-end"]["turns"]} == {0, 1}
    assert list(found["breakdown"]["runs"][0]["milliseconds"]) == list(STAGES)
    assert [point["rows"] for point in found["scaling"]["tasks"]] == [6, 12, 24]
    assert (tmp_path / "p.png").is_file()
