"""`python -m bench systems`: known numbers of a tiny network, scores from a score file, the table in a document."""

import json

import pytest
import torch

from bench.measuring.tables import replace_table
from bench.systems import PUBLISHED, Row, measure, read_scores, table
from challenge.errors import UserError
from challenge.tasks import CATALOGUE
from model.networks import build, list_systems

ROW = Row("small", 1_234_567, 1.5, 0.25, 4.94, 20.4, 9.6)


def test_published_rows_are_systems_that_exist():
    assert set(PUBLISHED) <= set(list_systems())
    for name, options in PUBLISHED.items():
        with torch.device("meta"):
            assert 256 % build(name, CATALOGUE.values(), **options).size_multiple == 0


def test_a_tiny_network_is_measured():
    options = {"encoder": "test_efficientnet", "pyramid_channels": 32, "segmentation_channels": 32}
    row = measure("tiny", "mh_mtl", options, size=64)
    network = build("mh_mtl", CATALOGUE.values(), **options)
    assert row.parameters == sum(p.numel() for p in network.parameters())
    assert row.mask_gflops > row.class_gflops > 0
    assert row.mask_milliseconds > 0
    assert row.class_milliseconds > 0
    weights = 4e-6 * row.parameters
    assert weights < row.onnx_megabytes < 2 * weights


def test_scores_come_from_the_official_column(tmp_path):
    metrics = {"DSC": {"official": {"value": 0.8125}, "strict": {"value": 0.1}}}
    (tmp_path / "s.json").write_text(json.dumps({"kinds": {"segmentation": {"metrics": metrics}}}))
    scores = read_scores([f"small={tmp_path / 's.json'}"], ["small"])
    text = table([ROW, Row("other", 1, 1, 1, 1, 1, 1)], scores)
    assert "| `small` | 1,234,567 | 1.50 / 0.25 | 4.9 | 20 / 10 | 0.8125 | n/a |" in text
    assert text.splitlines()[-1].endswith("|  |  |  |  |  |  |")
    with pytest.raises(UserError, match="did you mean 'small'"):
        read_scores([f"smal={tmp_path / 's.json'}"], ["small"])
    (tmp_path / "s.json").write_text("[]")
    with pytest.raises(UserError, match="is not a score file"):
        read_scores([f"small={tmp_path / 's.json'}"], ["small"])


def test_a_table_is_replaced_in_place(tmp_path):
    document = tmp_path / "d.md"
    document.write_text("before\n<!-- bench systems -->\nold\n<!-- end -->\nafter\n")
    for _ in range(2):
        replace_table(document, "systems", "| new |")
        assert document.read_text() == "before\n<!-- bench systems -->\n\n| new |\n\n<!-- end -->\nafter\n"
    with pytest.raises(UserError, match="lacks the lines"):
        replace_table(document, "other", "| new |")
