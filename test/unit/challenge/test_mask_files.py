"""Which rows lose their mask to a later one, and which masks may not be written at all."""

import logging
from pathlib import PurePosixPath

import pytest

from challenge.errors import PathError
from challenge.manifest import Row, Sample, check_mask_folders, read_manifest, superseded
from challenge.tasks import TaskKind


def row(line, mask):
    file = PurePosixPath(mask) if mask else None
    kind = TaskKind.SEGMENTATION if mask else TaskKind.CLASSIFICATION
    return Sample(f"{line}.png", f"task {line}", kind, 2, Row("a.csv", line), file)


def lost(*masks):
    return [sample.row.line for sample in superseded([row(line, mask) for line, mask in enumerate(masks, 2)])]


def test_the_last_of_three_rows_with_one_mask_wins(caplog):
    with caplog.at_level(logging.WARNING):
        assert lost("m.png", "m.png", "m.png") == [2, 3]
    assert len(caplog.records) == 2


def test_several_masks_and_rows_without_one():
    assert sorted(lost("m.png", "n.png", None, "m.png", None, "n.png", "o.png", "m.png")) == [2, 3, 5]
    assert lost("m.png", "M.png", "d/m.png", None) == []
    assert lost() == []


def test_a_mask_below_another_mask_is_refused_in_either_order():
    for masks in (("m.png", "m.png/n.png"), ("m.png/n.png", "m.png"), ("a/b", "a/b/c/d.png")):
        with pytest.raises(PathError, match="lies below the mask of a.csv, line"):
            check_mask_folders([row(line, mask) for line, mask in enumerate(masks, 2)], "mask_path")
    check_mask_folders([row(2, "a/m.png"), row(3, "a/n.png"), row(4, None)], "mask_path")


@pytest.mark.parametrize("name", ["detection_predictions.json", "Detection_PREDICTIONS.JSON", ".journal/m.png"])
def test_no_mask_takes_the_name_of_an_answer_file_in_any_case(tmp_path, name):
    (tmp_path / "csv_files").mkdir()
    header = "image_path,task_id,task_name,num_classes,mask_path\n"
    (tmp_path / "csv_files" / "a.csv").write_text(f"{header}a.png,lung,segmentation,2,../{name}\n")
    with pytest.raises(PathError, match="a.csv, line 2: mask_path: .* is the name of an answer file"):
        read_manifest(tmp_path)
