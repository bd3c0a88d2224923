import json
import shutil
from pathlib import Path

import pytest

from challenge.errors import WeightsError
from model.frozen.metadata import read_metadata, verify, write_metadata
from model.frozen.outputs.postprocess import Postprocess, Postprocessing, SecondLook


@pytest.fixture
def folder(tiny_weights, tmp_path):
    return shutil.copytree(tiny_weights, tmp_path / "weights")


def edited(folder, change):
    table = json.loads((folder / "weights.json").read_text())
    change(table)
    (folder / "weights.json").write_text(json.dumps(table))
    return folder


def test_written_metadata_read_back_equal(folder, tmp_path):
    metadata = read_metadata(folder)
    write_metadata(metadata, tmp_path)
    assert read_metadata(tmp_path) == metadata


def test_class_names_are_kept_and_must_fit_the_classes(folder, tmp_path):
    def named(*names):
        return edited(folder, lambda table: table["tasks"]["breast_2cls"].update(class_names=list(names)))

    metadata = read_metadata(named("benign", "malignant"))
    assert metadata.class_names == {"breast_2cls": ("benign", "malignant")}
    write_metadata(metadata, tmp_path)
    assert read_metadata(tmp_path) == metadata
    for names in (("benign",), ("benign", "benign"), ("benign", 1)):
        with pytest.raises(WeightsError, match="incomplete or malformed"):
            read_metadata(named(*names))


def test_metadata_of_schema_1_are_still_read(tmp_path):
    shutil.copy(Path(__file__).with_name("weights_schema_1.json"), tmp_path / "weights.json")
    metadata = read_metadata(tmp_path)
    assert metadata.tidy_coordinates
    assert metadata.tasks["breast_lesion"].postprocessing == Postprocessing(largest_component=True, fill_holes=True)
    assert metadata.tasks["IUGC"].postprocessing == Postprocessing(views=("flip",), point_order=(1, 0, 2))
    assert metadata.tasks["organ_cls"].postprocessing == Postprocessing()
    write_metadata(metadata, tmp_path)
    assert read_metadata(tmp_path) == metadata
    assert json.loads((tmp_path / "weights.json").read_text())["schema"] == 4


def test_schema_1_marks_official_weights(tmp_path):
    shutil.copy(Path(__file__).with_name("weights_schema_1.json"), tmp_path / "weights.json")
    official = edited(tmp_path, lambda table: table.update(postprocess="official"))
    assert not read_metadata(official).tidy_coordinates
    with pytest.raises(WeightsError, match="postprocess 'other'"):
        read_metadata(edited(tmp_path, lambda table: table.update(postprocess="other")))


def test_weights_recommend_no_postprocessing_unless_they_say_so(folder):
    assert read_metadata(edited(folder, lambda table: table.pop("default_postprocess"))).default_postprocess == "none"
    recommended = edited(folder, lambda table: table.update(default_postprocess="look"))
    assert read_metadata(recommended).default_postprocess is Postprocess.LOOK
    with pytest.raises(WeightsError, match="'glance' is not a valid Postprocess"):
        read_metadata(edited(folder, lambda table: table.update(default_postprocess="glance")))


def test_a_second_look_is_read_back_and_nonsense_refused(folder, tmp_path):
    def with_look(**values):
        change = {"largest_component": True, "second_look": values}
        return edited(folder, lambda table: table["tasks"]["lung"].update(postprocessing=change))

    metadata = read_metadata(with_look(largest_area=0.1))
    look = SecondLook(zoom=1.6, least_side=0.6, largest_area=0.1)
    assert metadata.tasks["lung"].postprocessing == Postprocessing(largest_component=True, second_look=look)
    write_metadata(metadata, tmp_path)
    assert read_metadata(tmp_path) == metadata
    for nonsense in ({"zoom": 0.5}, {"zom": 2}, {"zoom": "2"}):
        with pytest.raises(WeightsError, match="malformed"):
            read_metadata(with_look(**nonsense))


def test_all_27_subtasks_and_the_extra_ones_are_there(folder):
    metadata = read_metadata(folder)
    assert len(metadata.tasks) == 29
    assert metadata.prior_tasks == ["cervix", "FUGC"]
    assert metadata.tasks["breast_lesion"].path == ("encoder", "pyramid", "head.breast_lesion")
    assert metadata.tasks["organ_cls"].path == ("encoder", "head.organ_cls")


def test_weights_allow_only_float32_unless_they_list_more(folder):
    assert read_metadata(edited(folder, lambda table: table.pop("precisions"))).precisions == ("float32",)
    both = ["float32", "bfloat16"]
    assert read_metadata(edited(folder, lambda table: table.update(precisions=both))).precisions == tuple(both)
    with pytest.raises(WeightsError, match="precisions .*'int4'"):
        read_metadata(edited(folder, lambda table: table.update(precisions=["int4"])))


def test_no_weights(tmp_path):
    with pytest.raises(WeightsError, match="there is no .*weights.json"):
        read_metadata(tmp_path)


def test_newer_schema_is_refused(folder):
    with pytest.raises(WeightsError, match="schema 5"):
        read_metadata(edited(folder, lambda table: table.update(schema=5)))


@pytest.mark.parametrize("key", ["graphs", "tasks", "image_size", "resize"])
def test_missing_key_is_refused(folder, key):
    with pytest.raises(WeightsError, match="incomplete or malformed"):
        read_metadata(edited(folder, lambda table: table.pop(key)))


def test_path_through_an_unknown_graph_is_refused(folder):
    def change(table):
        table["tasks"]["organ_cls"]["path"] = ["encoder", "head.nothing"]

    with pytest.raises(WeightsError, match="'organ_cls' breaks at 'head.nothing'"):
        read_metadata(edited(folder, change))


def test_verify_accepts_what_was_exported(folder):
    assert len(verify(read_metadata(folder), folder)) == 64


def test_altered_graph_is_refused(folder):
    path = folder / "encoder.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"encoder.onnx does not match the sha256"):
        verify(read_metadata(folder), folder)


def test_truncated_missing_and_lfs_pointer_files_have_different_messages(folder):
    path = folder / "heads" / "organ_cls.onnx"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="does not match the sha256"):
        verify(read_metadata(folder), folder)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(WeightsError, match="Git LFS pointer"):
        verify(read_metadata(folder), folder)
    path.unlink()
    with pytest.raises(WeightsError, match="'head.organ_cls' is missing"):
        verify(read_metadata(folder), folder)


def test_graph_outside_the_folder_is_refused(folder):
    def change(table):
        table["graphs"]["encoder"]["file"] = "../encoder.onnx"

    with pytest.raises(WeightsError, match="outside the weights folder"):
        verify(read_metadata(edited(folder, change)), folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [("mean", [0.5]), ("mean", "abc"), ("std", [0.5, 0.5, 0]), ("std", [0.5, 0.5, float("nan")]), ("image_size", -1)],
)
def test_a_number_that_would_silently_corrupt_scores_is_refused(folder, key, value):
    with pytest.raises(WeightsError, match="incomplete or malformed"):
        read_metadata(edited(folder, lambda table: table.update({key: value})))


@pytest.mark.parametrize(
    ("task", "key", "value"),
    [
        ("organ_cls", "num_classes", 0),
        ("thyroid_nodule_det", "fallback", [0.5]),
        ("thyroid_nodule_det", "fallback", [0.1, 0.2, 0.3, float("inf")]),
        ("IUGC", "fallback", [0.1, 0.2, 0.3, 0.4]),
    ],
)
def test_a_task_s_wrong_number_is_refused(folder, task, key, value):
    with pytest.raises(WeightsError, match="incomplete or malformed"):
        read_metadata(edited(folder, lambda table: table["tasks"][task].update({key: value})))
