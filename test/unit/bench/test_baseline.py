"""The baseline pipeline, the container's program, and its stages one by one give the same answers."""

import json

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from bench.agreement import PROBABILITY, compare
from bench.baseline import Rows, open_baseline
from bench.stages import STAGES, measure
from challenge.manifest import read_manifest
from challenge.paths import JSON_FILES
from challenge.tasks import TaskKind
from model.frozen.options import Options
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission


@pytest.fixture(scope="module")
def samples(small_folder):
    """The rows of the small folder."""
    return read_manifest(small_folder).samples


@pytest.fixture(scope="module")
def options(tiny_weights):
    """Options that resize masks as the baseline pipeline does."""
    return Options(tiny_weights, mask_resize="labels", precision="float32")


@pytest.fixture(scope="module")
def ours(small_folder, options, tmp_path_factory):
    """The answers of the container's program. Tests must not write into it."""
    output = tmp_path_factory.mktemp("ours")
    run_submission(small_folder, output, options, RunReport())
    return output


@pytest.fixture
def theirs(small_folder, tiny_weights, tmp_path):
    """A copy of the baseline pipeline's answers. Tests may change it."""
    pipeline, config = open_baseline(tiny_weights, tmp_path / "theirs")
    for batch in DataLoader(Rows(small_folder, config), 8, collate_fn=list):
        pipeline.answer(batch)
    pipeline.write_json()
    return tmp_path / "theirs"


def test_the_baseline_pipeline_gives_our_answers(samples, ours, theirs):
    found = compare(samples, theirs, ours)
    assert found.holds, found
    assert found.rows == 40


def test_the_answers_compared_depend_on_the_image(theirs):
    entries = json.loads((theirs / JSON_FILES[TaskKind.CLASSIFICATION]).read_text())
    probabilities = [entry["predicted_probs"][0] for entry in entries if entry["task_id"] == entries[0]["task_id"]]
    assert max(probabilities) - min(probabilities) > 2 * PROBABILITY
    assert any(len(np.unique(Image.open(path))) > 1 for path in (theirs / "masks").iterdir())


def test_other_answers_are_noticed(samples, ours, theirs):
    path = theirs / JSON_FILES[TaskKind.CLASSIFICATION]
    entries = json.loads(path.read_text())
    entries[0]["predicted_probs"][0] += 2e-4
    path.write_text(json.dumps(entries))
    found = compare(samples, theirs, ours)
    assert found.probability == pytest.approx(2e-4, rel=0.1)
    assert not found.holds


def test_other_masks_are_noticed(samples, ours, theirs):
    mask_file = next(sample.mask_file for sample in samples if sample.mask_file)
    mask = np.asarray(Image.open(theirs / mask_file))
    Image.fromarray(1 - np.minimum(mask, 1)).save(theirs / mask_file)
    found = compare(samples, theirs, ours)
    assert found.mask_share < 0.999
    assert not found.holds


def test_a_missing_answer_is_noticed(samples, ours, theirs):
    (theirs / JSON_FILES[TaskKind.DETECTION]).write_text("[]")
    with pytest.raises(KeyError):
        compare(samples, theirs, ours)


def test_the_stages_one_by_one_give_the_runs_answers(small_folder, samples, ours, options, tmp_path):
    seconds = measure(small_folder, samples, options, tmp_path / "stages")
    assert tuple(seconds) == STAGES
    assert min(seconds.values()) > 0
    for name in JSON_FILES.values():
        assert (tmp_path / "stages" / name).read_bytes() == (ours / name).read_bytes()
    assert compare(samples, ours, tmp_path / "stages").mask_share == 1
