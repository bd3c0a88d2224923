"""No patient, video or image stands on both sides, whatever the rows look like."""

import csv
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from challenge.manifest import Row, Sample
from challenge.tasks import TaskKind
from training.data.groups import group_of, guessed_group
from training.data.split import folds, split, subset, without_shared


def sample(path, task_id="organ_cls", group="", label="", line=2):
    cells = {"group": group, "mask": label}
    return Sample(path, task_id, TaskKind.CLASSIFICATION, 6, Row("a.csv", line), None, cells)


ROWS = st.lists(
    st.builds(
        lambda image, task, group, label: sample(f"../img/{image}.png", task, f"g{group}" if group else "", str(label)),
        st.integers(0, 40), st.sampled_from(["organ_cls", "breast_3cls"]), st.integers(0, 12), st.integers(0, 2),
    ),
    min_size=1, max_size=80, unique_by=lambda s: (s.image_path, s.task_id),
)  # fmt: skip


def assert_apart(train, dev):
    assert {group_of(s) for s in train}.isdisjoint(group_of(s) for s in dev)
    assert {s.image_path for s in train}.isdisjoint(s.image_path for s in dev)


@settings(deadline=None)
@given(rows=ROWS, seed=st.integers(0, 5))
def test_a_split_keeps_groups_and_images_together_and_loses_nothing(rows, seed):
    train, dev = split(rows, 0.3, seed)
    assert sorted(map(id, train + dev)) == sorted(map(id, rows))
    assert train
    assert_apart(train, dev)


@settings(deadline=None)
@given(rows=ROWS, count=st.integers(2, 5))
def test_every_row_is_in_one_dev_fold(rows, count):
    parts = folds(rows, count, seed=1)
    assert sorted(id(s) for _, dev in parts for s in dev) == sorted(map(id, rows))
    for train, dev in parts:
        assert len(train) + len(dev) == len(rows)
        assert_apart(train, dev)


def test_a_split_is_stratified_and_depends_on_the_seed_alone():
    rows = [sample(f"image {label}{i:02d}.png", label=str(label)) for label in (0, 1) for i in range(50)]
    train, dev = split(rows, 0.2, seed=0)
    assert [sum(s.cells["mask"] == label for s in dev) for label in "01"] == [10, 10]
    assert split(rows, 0.2, seed=0) == (train, dev)
    assert split(list(reversed(rows)), 0.2, seed=0)[1] == list(reversed(dev))
    assert split(rows, 0.2, seed=1)[1] != dev


def test_copies_of_an_image_stay_together():
    rows = [sample(f"{name}{i}.png") for name in "ab" for i in range(20)]
    content = {s.image_path: s.image_path[1:] for s in rows}  # a7 and b7 are the same picture
    train, dev = split(rows, 0.3, 0, content)
    assert dev
    assert {content[s.image_path] for s in train}.isdisjoint(content[s.image_path] for s in dev)


def test_rows_that_a_validation_folder_holds_are_left_out():
    train = [sample("p1_0.png"), sample("p2_0.png"), sample("copy.png"), sample("own.png", group="v")]
    held_out = [sample("p1_9.png"), sample("x/original.png"), sample("z.png", group="v")]
    kept, dropped = without_shared(train, held_out, {"copy.png": "same"}, {"x/original.png": "same"})
    assert [s.image_path for s in kept] == ["p2_0.png"]
    assert len(dropped) == 3


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Patient00168_Plane3_1_of_3.png", "patient00168_Plane1_1_of_2.png"),
        ("patient0012_4CH_ED.jpg", "patient0012_2CH_ES.jpg"),
        ("202201121752220024VAS_slice_599.jpg", "202201121752220024VAS_slice_603.jpg"),
        ("010_HC.png", "010_2HC.png"),
        ("106_2.jpg", "106_3.jpg"),
        ("Cov_Oliviera_2020_Fig15A_0.jpg", "Cov_Oliviera_2020_Fig15A_7.jpg"),
    ],
)
def test_files_of_one_patient_or_video_are_recognised(first, second):
    assert guessed_group(f"../a/{first}") == guessed_group(f"../a/{second}")
    assert guessed_group(f"../a/{first}") != guessed_group(f"../b/{second}")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("benign (383).png", "benign (384).png"),
        ("liver-0041.png", "liver-0042.png"),
        ("00468.bmp", "00469.bmp"),
        ("patient0012_4CH_ED.jpg", "patient0013_4CH_ED.jpg"),
        ("scaled-dicom-996.png", "scaled-dicom-997.png"),
        ("010_HC.png", "011_HC.png"),
    ],
)
def test_numbered_collections_are_not_one_patient(first, second):
    assert guessed_group(f"../a/{first}") != guessed_group(f"../a/{second}")


def test_the_guess_agrees_with_the_known_groups_of_the_real_data(ultrasound_data):
    guesses = defaultdict(set)
    for path in sorted(ultrasound_data.glob("*/csv_files/*.csv")):
        with path.open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                # These groups were found by comparing pictures; no name tells of them.
                if "-near-" not in row["group"] and not row["group"].startswith(("psfhs-", "aul-")):
                    guesses[row["group"]].add(guessed_group(row["image_path"]))
    torn = [group for group, found in guesses.items() if len(found) > 1]
    assert len(guesses) > 2000
    # The lung videos whose names hold a word and no number.
    assert len(torn) <= 10
    assert all(group.startswith("pocus-") for group in torn)


@settings(deadline=None)
@given(rows=ROWS, seed=st.integers(0, 5), count=st.integers(1, 90))
def test_a_subset_keeps_groups_together_and_does_not_depend_on_the_order(rows, seed, count):
    some = subset(rows, count, seed)
    left_out = [s for s in rows if s not in some]
    assert_apart(some, left_out)
    assert (not left_out) if count >= len(rows) else some
    assert sorted(map(id, subset(list(reversed(rows)), count, seed))) == sorted(map(id, some))


def test_a_subset_has_the_same_part_of_every_class_but_some_rows_of_each():
    sizes = {"0": 300, "1": 90, "2": 3}
    rows = [sample(f"image {label}{i:03d}.png", label=label) for label, size in sizes.items() for i in range(size)]
    some = subset(rows, 131, seed=0)
    counts = [sum(s.cells["mask"] == label for s in some) for label in sizes]
    assert counts == [100, 30, 3]
