"""Missed masks and their part of the error, by hand."""

from math import isnan

import pytest
from click.testing import CliRunner

from evaluate.__main__ import main
from evaluate.misses import Misses, table


def test_the_missed_masks_make_their_part_of_the_error():
    found = Misses.of("breast_lesion", [0.0, 0.4, 0.5, 0.9, 1.0])
    assert (found.rows, found.missed) == (5, 2)
    assert found.dice == pytest.approx(0.56)
    assert found.median == 0.5
    assert found.rest == pytest.approx(0.8)
    assert found.share == pytest.approx(1.6 / 2.2)


def test_all_perfect_and_all_missed():
    assert Misses.of("a", [1.0, 1.0]).share == 0
    found = Misses.of("a", [0.0, 0.1])
    assert found.share == 1
    assert isnan(found.rest)


def test_the_table_has_one_line_per_task():
    lines = list(table(iter([Misses.of("a", [0.4, 0.8])])))
    assert lines[2] == "| a | 2 | 0.600 | 0.600 | 1 | 75% | 0.800 |"


def test_the_command_takes_the_classes_without_the_background(data, exact, tmp_path):
    scores = tmp_path / "scores.json"
    arguments = ["score", "--data-root", data, "--predictions", exact, "--json", scores, "--draws", 10]
    assert CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False).exit_code == 0
    done = CliRunner().invoke(main, ["misses", str(scores)], catch_exceptions=False)
    assert done.exit_code == 0
    rows = done.output.splitlines()[2:]
    assert rows
    assert all(row.endswith("| 1.000 | 1.000 | 0 | 0% | 1.000 |") for row in rows)
