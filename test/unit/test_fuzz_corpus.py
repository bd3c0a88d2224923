"""The fuzz targets hold on their corpus (seeds and past findings), on the bad inputs, and on some random text."""

import json
from pathlib import Path

import pytest
from fuzz.targets import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st
from phantoms.bad_inputs import BAD_INPUTS

CORPUS = Path(__file__).resolve().parents[1] / "fuzz" / "corpus"
CASES = [(target, path.name) for target in TARGETS for path in sorted((CORPUS / target).iterdir())]


def test_every_target_has_a_corpus_and_it_stays_small():
    assert {target for target, _ in CASES} == set(TARGETS)
    assert sum(path.stat().st_size for path in CORPUS.rglob("*") if path.is_file()) < 200_000


WORDS = st.sampled_from(
    ["img", "a/img/1.png", "../x", "segmentation", "classification", "Breast", "\ud800", "", None, 7]
)
ENTRY = st.fixed_dictionaries(
    {}, optional={key: WORDS for key in ("img_path_relative", "task", "dataset_name", "organ", "label")}
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ENTRY | WORDS, max_size=4))
def test_uusic_lists(content):
    TARGETS["uusic_list"](json.dumps(content).encode())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("target", "name"), CASES)
def test_corpus(target, name):
    TARGETS[target]((CORPUS / target / name).read_bytes())


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name)
def test_bad_inputs(bad):
    TARGETS["images"](bad.data())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["..", ".", "a", "~", "C:", "link", ".journal", " ", "\u00a0", "e\u0301", "%2e", "\0"]),
                max_size=6), st.sampled_from(["/", "\\", "//"]))  # fmt: skip
def test_paths(pieces, separator):
    TARGETS["paths"](separator.join(pieces).encode())


CELLS = ["image_path", "task_id", "task_name", "mask_path", "../a.png", "lung", "segmentation", "NaN", "", "a\nb", '"']


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.sampled_from(CELLS), max_size=5), max_size=4), st.sampled_from([",", ";", "\t"]))
def test_manifests(rows, delimiter):
    TARGETS["manifest"]("\n".join(delimiter.join(row) for row in rows).encode())
