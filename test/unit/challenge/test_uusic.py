"""UUSIC 2025: the list of images, its heads, its answers."""

import json

import numpy as np
import pytest
from PIL import Image

from challenge.errors import ManifestError, PathError, WeightsError
from challenge.manifest import Row, Sample
from challenge.predictions import BlankMask, ClassPrediction, MaskPrediction
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from challenge.uusic.heads import choose_head, head_table
from challenge.uusic.manifest import mask_target, parse_list, read_list
from challenge.uusic.writers import entry as entry_of
from challenge.uusic.writers import write_json, write_mask

SEGMENTATION, CLASSIFICATION = TaskKind.SEGMENTATION, TaskKind.CLASSIFICATION


def entry(path="a/imgs/1.png", task="segmentation", dataset="Breast", organ="Breast", **more):
    return {"img_path_relative": path, "task": task, "dataset_name": dataset, "organ": organ, **more}


def parse(*entries, tasks=CATALOGUE):
    return parse_list(list(entries), "list.json", tasks)


@pytest.mark.parametrize(
    ("dataset", "organ", "kind", "head", "classes"),
    [
        ("Breast", "Breast", SEGMENTATION, "breast_lesion", 2),
        ("BUS-BRA", "Breast", CLASSIFICATION, "breast_2cls", 2),
        ("Breast_luminal", "Breast", CLASSIFICATION, "breast_luminal_4cls", 4),
        ("private_Breast_luminal", "Breast", CLASSIFICATION, "breast_luminal_4cls", 4),
        ("Breast_luminal", "Breast", SEGMENTATION, "breast_lesion", 2),
        ("CAMUS", "Heart", SEGMENTATION, "cardiac_multi", 4),
        ("Fetal_HC", "Head", SEGMENTATION, "fetal_head", 2),
        ("DDTI", "Thyroid", SEGMENTATION, "thyroid_nodule", 2),
        ("KidneyUS", "Kidney", SEGMENTATION, "kidney", 2),
        ("Appendix", "Appendix", CLASSIFICATION, "appendix_2cls", 2),
        ("Fatty-Liver", "Liver", CLASSIFICATION, "fatty_liver_2cls", 2),
        ("MMOTU", "Ovary", SEGMENTATION, "ovary_tumor", 2),
        ("CCAU", "Carotid", SEGMENTATION, "carotid_artery", 2),
        ("CUBS", "Carotid", CLASSIFICATION, "carotid_2cls", 2),
        ("TN3K", "Thyroid", SEGMENTATION, "thyroid_nodule", 2),
        ("TN3K", "Thyroid", CLASSIFICATION, "thyroid_2cls", 2),
        ("TG3K", "Thyroid_gland", SEGMENTATION, "thyroid_gland", 2),
        ("EchoNet-Dynamic", "Heart", SEGMENTATION, "cardiac_multi", 4),
        ("HMC-QU", "Heart", SEGMENTATION, "cardiac_multi", 4),
        ("kidneyUS_capsule", "Kidney", SEGMENTATION, "kidney", 2),
    ],
)
def test_heads_of_the_organs(dataset, organ, kind, head, classes):
    choice = choose_head(dataset, organ, kind, CATALOGUE)
    assert (choice.spec.task_id, choice.spec.num_classes, choice.note) == (head, classes, None)


@pytest.mark.parametrize(
    ("dataset", "organ", "kind", "head", "said"),
    [
        ("New hospital", "Breast", SEGMENTATION, "breast_lesion", "the data set 'New hospital' is unknown"),
        ("CAMUS", "?", SEGMENTATION, "cardiac_multi", "the organ '?' is unknown; taken as 'Heart' after the data set"),
        ("x", "Fetal_Head", SEGMENTATION, "fetal_head", "the organ 'Fetal_Head' is unknown; taken as 'Head'"),
        ("x", "thyriod", SEGMENTATION, "thyroid_nodule", "taken as 'Thyroid'"),
        ("x", "fetal heart", SEGMENTATION, "cardiac_multi", "taken as 'Heart'"),
        ("x", "BREAST-left", SEGMENTATION, "breast_lesion", "taken as 'Breast'"),
        ("x", "thyroid gland", SEGMENTATION, "thyroid_nodule", "taken as 'Thyroid'"),
        ("x", "Spleen", SEGMENTATION, "indistinct", "answered as an indistinct one"),
        ("x", "", CLASSIFICATION, "indistinct_2cls", "answered as an indistinct one"),
        ("Kidney", "Kidney", CLASSIFICATION, "indistinct_2cls", "no classification is known for the organ 'Kidney'"),
    ],
)
def test_unknown_names_get_the_nearest_organ_and_a_note(dataset, organ, kind, head, said):
    choice = choose_head(dataset, organ, kind, CATALOGUE)
    assert choice.spec.task_id == head
    assert said in choice.note


def test_a_head_of_the_weights_is_preferred():
    weights = {**CATALOGUE, "cardiac": TaskSpec("cardiac", SEGMENTATION, 2)}
    assert choose_head("CAMUS", "Heart", SEGMENTATION, weights).spec == weights["cardiac"]


def test_a_head_with_other_classes_is_refused():
    weights = {"breast_2cls": TaskSpec("breast_2cls", CLASSIFICATION, 3)}
    with pytest.raises(
        WeightsError, match=r"'breast_2cls' is a classification of 3 classes, but UUSIC asks for a .* of 2"
    ):
        choose_head("Breast", "Breast", CLASSIFICATION, weights)


def test_every_head_of_the_table_is_described():
    table = head_table()
    for organ in (*table.organs, None):
        for kind in (SEGMENTATION, CLASSIFICATION):
            for dataset in ("", *table.dataset_heads):
                assert all(spec.kind is kind for spec in table.candidates(dataset, organ, kind))
    assert set(table.datasets.values()) == set(table.organs)
    assert [spec.task_id for spec in table.own_tasks] == [
        "cardiac", "kidney", "thyroid_gland",
        "appendix_2cls", "breast_luminal_4cls", "carotid_2cls", "fatty_liver_2cls", "thyroid_2cls",
    ]  # fmt: skip
    assert all(table.organ_of(spec) for spec in table.own_tasks)
    assert table.organ_of(TaskSpec("indistinct", SEGMENTATION, 2)) is None


def test_a_data_set_s_head_shows_the_data_set_s_organ():
    table = head_table()
    assert table.organ_of(TaskSpec("breast_luminal_4cls", CLASSIFICATION, 4)) is table.organs["Breast"]
    assert table.organ_of(TaskSpec("thyroid_gland", SEGMENTATION, 2)) is table.organs["Thyroid_gland"]


def test_samples_keep_order_truth_and_place():
    manifest = parse(
        entry("b/img_2.png", "classification", label=1), entry("a/imgs/1.png", mask_path_relative="a/masks/1.png")
    )
    first, second = manifest.samples
    assert (first.image_path, first.task_id, first.kind) == ("b/img_2.png", "breast_2cls", CLASSIFICATION)
    assert (first.cells["mask"], second.cells["true_mask"]) == ("1", "a/masks/1.png")
    assert str(second.row) == "list.json, entry 2"
    assert str(second.mask_file) == "a/masks/1.png"
    assert first.mask_file is None


def test_every_img_becomes_mask_in_folders_and_names():
    assert str(mask_target("seg/imgs/my_img_1.jpg")) == "seg/masks/my_mask_1.jpg"
    assert str(mask_target("./IMG/a.png")) == "IMG/a.png"


@pytest.mark.parametrize(
    "path", ["../imgs/1.png", "imgs/../../1.png", "/imgs/1.png", "C:\\imgs\\1.png", "..\\1.png", "", "a\0b", "a\ud800"]
)
@pytest.mark.parametrize("task", ["segmentation", "classification"])
def test_paths_that_leave_the_folder_are_refused(path, task):
    with pytest.raises(PathError, match="list.json, entry 1"):
        parse(entry(path, task))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"img_path_relative": "a"}, "is not a list"),
        (["a.png"], "entry 1 is not an object"),
        ([entry(), entry(path=None)], "entry 2: 'img_path_relative' is missing"),
        ([entry(task="detection")], "entry 1: the task 'detection' is unknown; write segmentation or classification"),
        ([entry(task=None)], "the task 'None' is unknown"),
    ],
)
def test_malformed_lists_name_the_entry(content, said):
    with pytest.raises(ManifestError, match=said):
        parse_list(content, "list.json", CATALOGUE)


def test_two_rows_with_one_target_are_refused():
    with pytest.raises(ManifestError, match=r"entry 1 and list.json, entry 2 both have the target 'mask/1.png'"):
        parse(entry("img/1.png"), entry("mask/1.png"))
    with pytest.raises(ManifestError, match=r"both have the target 'classification.json'"):
        parse(entry("a.png", "classification"), entry("a.png", "classification", organ="Liver", dataset="Liver"))
    for path in ("classification.json", ".journal", "Classification.JSON/img.png"):
        with pytest.raises(PathError, match="entry 1: the mask .* has a reserved name"):
            parse(entry(path))
    with pytest.raises(
        PathError, match="entry 2: img_path_relative: 'mask/1/2' lies below the mask of list.json, entry 1"
    ):
        parse(entry("img/1"), entry("img/1/2"))


def test_a_repeated_row_is_answered_once_and_both_tasks_of_an_image_are_two_rows():
    manifest = parse(entry(), entry(), entry(task="classification"))
    assert (len(manifest.samples), len(manifest.repeated)) == (2, 1)


def test_unknown_data_sets_are_warned_about_once_and_noted_for_every_row(caplog):
    manifest = parse(entry("1.png", dataset="New"), entry("2.png", dataset="New"), entry("3.png"))
    assert [sample.image_path for sample in manifest.samples if sample.note] == ["1.png", "2.png"]
    assert len([record for record in caplog.records if "'New'" in record.message]) == 1


def test_list_files(tmp_path):
    path = tmp_path / "list.json"
    path.write_text("\ufeff" + json.dumps([entry()]), encoding="utf-8")
    assert len(read_list(path, CATALOGUE).samples) == 1
    path.write_text("[")
    with pytest.raises(ManifestError, match="list.json is not JSON"):
        read_list(path, CATALOGUE)
    with pytest.raises(ManifestError, match="--input-json"):
        read_list(tmp_path / "none.json", CATALOGUE)


def sample(path, kind=CLASSIFICATION):
    return Sample(path, "t", kind, 2, Row("list.json", 1), mask_target(path) if kind is SEGMENTATION else None)


def test_masks_are_0_and_255_and_lossless_whatever_the_ending(tmp_path):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4) % 4
    write_mask(tmp_path, sample("imgs/1.jpg", SEGMENTATION), MaskPrediction(labels))
    with Image.open(tmp_path / "masks/1.jpg") as image:
        assert (image.format, image.mode, image.size) == ("PNG", "L", (4, 3))
        np.testing.assert_array_equal(np.asarray(image), np.where(labels > 0, 255, 0))
    write_mask(tmp_path, sample("imgs/2.png", SEGMENTATION), BlankMask(5, 2))
    with Image.open(tmp_path / "masks/2.png") as image:
        assert (image.size, np.asarray(image).max()) == ((5, 2), 0)


def test_one_object_holds_all_classes_in_order(tmp_path):
    answers = [(sample("ü/b.png"), ClassPrediction((0.25,) * 4, 0)), (sample("a.png"), ClassPrediction((0.1, 0.9), 1))]
    write_json(tmp_path, lambda kind: [entry_of(*answer) for answer in answers if kind is CLASSIFICATION])
    content = json.loads((tmp_path / "classification.json").read_text("utf-8"))
    assert list(content.items()) == [
        ("ü/b.png", {"probability": [0.25] * 4, "prediction": 0}),
        ("a.png", {"probability": [0.1, 0.9], "prediction": 1}),
    ]
    write_json(tmp_path, lambda _: [])
    assert json.loads((tmp_path / "classification.json").read_text()) == {}
