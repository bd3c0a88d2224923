"""`Predictor` answers as the folder run does, from arrays, Pillow images and paths, and from several threads."""

import os
import re
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from challenge.errors import ImageError, UserError
from challenge.imaging.decode import read_image
from challenge.manifest import read_manifest
from challenge.paths import find_image
from challenge.predictions import MaskPrediction
from challenge.readers import open_submission
from challenge.tasks import TaskKind
from inference import Predictor
from model.frozen.options import Options
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission


@pytest.fixture(scope="module")
def predictor(tiny_weights):
    with Predictor(tiny_weights, device="cpu") as made:
        yield made


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 256, (90, 120), dtype=np.uint8)


def same(one, other):
    if isinstance(one, MaskPrediction):
        return isinstance(other, MaskPrediction) and np.array_equal(one.labels, other.labels)
    return one == other


def all_same(one, other):
    return list(one) == list(other) and all(same(one[name], other[name]) for name in one)


@pytest.mark.parametrize("weights", ["tiny_weights", "looking", "ensemble"])
def test_the_answers_are_those_of_the_folder_run(weights, phantom_folder, tmp_path, request):
    folder = request.getfixturevalue(weights)
    run_submission(phantom_folder, tmp_path, Options(folder, batch_size=1, device="cpu"), RunReport())
    written = open_submission(tmp_path)
    by_image = defaultdict(list)
    for sample in read_manifest(phantom_folder).samples:
        by_image[sample.image_path].append(sample)
    seen = set()
    with Predictor(folder, device="cpu", batch_size=1) as predictor:
        for path, samples in list(by_image.items())[::4]:
            known = [sample for sample in samples if sample.task_id in predictor.tasks]
            answers = predictor.predict(find_image(phantom_folder, path), [sample.task_id for sample in known])
            assert list(answers) == [sample.task_id for sample in known]
            for sample in known:
                assert same(answers[sample.task_id], written.find(sample)), sample
                seen.add(sample.kind)
    assert seen == set(TaskKind)


def test_arrays_pillow_images_and_paths_are_one(predictor, grey, tmp_path):
    colour = np.stack([grey, grey // 2, 255 - grey], axis=-1)
    for pixels in (grey, colour, grey.astype(np.uint16) * 257):
        path = tmp_path / "image.png"
        picture = Image.fromarray(pixels)
        picture.save(path)
        expected = predictor.predict(path)
        assert all_same(predictor.predict(pixels), expected)
        assert all_same(predictor.predict(picture), expected)
        assert all_same(predictor.predict(str(path)), expected)
        assert np.array_equal(read_image(path).pixels[..., 0], pixels if pixels.ndim == 2 and pixels.dtype == np.uint8
                              else (pixels[..., 0] if pixels.ndim == 3 else grey))  # fmt: skip


def test_a_sequence_gives_a_list_in_its_order(tiny_weights, grey):
    images = [grey, grey[::-1].copy(), grey[:50], grey.T.copy(), grey // 3]
    with Predictor(tiny_weights, device="cpu", batch_size=2) as predictor:
        together = predictor.predict(images, ("lung", "IUGC"))
        assert [answers["lung"].labels.shape for answers in together] == [image.shape for image in images]
        for image, answers in zip(images, together, strict=True):
            alone = predictor.predict(image, ("lung", "IUGC"))
            assert answers["IUGC"].pixels == pytest.approx(alone["IUGC"].pixels, abs=1e-3)
        assert predictor.predict([]) == []


def test_all_learned_tasks_are_answered_by_default(predictor, grey):
    assert {"cervix", "FUGC"}.isdisjoint(predictor.tasks)  # untrained: the prior would answer
    assert list(predictor.predict(grey)) == list(predictor.tasks)


def test_threads_get_the_answers_of_a_single_one(predictor, grey):
    images = [np.roll(grey, 7 * number, axis=1) for number in range(8)]
    expected = [predictor.predict(image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for one, other in zip(pool.map(predictor.predict, images), expected, strict=True):
            assert all_same(one, other)


def test_the_encoder_runs_once_for_all_tasks_of_an_image(tiny_weights, grey, monkeypatch):
    with Predictor(tiny_weights, device="cpu") as predictor:
        runtime, graphs = predictor._pipeline.router.runtime, []
        run = type(runtime).run
        monkeypatch.setattr(
            type(runtime), "run", lambda self, name, inputs: (graphs.append(name), run(self, name, inputs))[1]
        )
        predictor.predict(grey)
    assert graphs.count("encoder") == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5), np.float32), "the image: the numbers are float32; give uint8 or uint16"),
        (None, "the image is a NoneType; give an array, a Pillow image or a path"),
        ([[[1, 2], [3, 4]]], "is a list; give an array, a Pillow image or a path"),
        (np.zeros((4, 5, 6), np.uint8), r"the image: the shape is \(4, 5, 6\); give"),
        (np.zeros((0, 5), np.uint8), "the image: an image of 5x0 pixels is empty"),
        ("no such file.png", "no such file.png: No such file"),
    ],
)
def test_what_is_no_image_is_an_error(predictor, image, message):
    with pytest.raises(ImageError, match=message):
        predictor.predict(image, ["lung"])


def test_an_error_in_a_sequence_names_the_image(predictor, grey):
    with pytest.raises(ImageError, match="^image 2: the numbers are int64"):
        predictor.predict([grey, grey.astype(np.int64)], ["lung"])


def test_unknown_tasks_and_a_closed_predictor_are_errors(tiny_weights, grey):
    with Predictor(tiny_weights, device="cpu") as predictor:
        with pytest.raises(UserError, match=r"has not learned a task 'lun' \(did you mean 'lung'\?\)"):
            predictor.predict(grey, ["lun"])
        with pytest.raises(UserError, match="has not learned a task 'cervix'"):
            predictor.predict(grey, "cervix")
    with pytest.raises(UserError, match="closed"):
        predictor.predict(grey)


def test_an_output_that_is_not_finite_is_an_error(tiny_weights, grey, monkeypatch):
    with Predictor(tiny_weights, device="cpu") as predictor:
        runtime = predictor._pipeline.router.runtime
        run = type(runtime).run

        def broken(self, name, inputs):
            return {key: np.full_like(value, np.nan) for key, value in run(self, name, inputs).items()}

        monkeypatch.setattr(type(runtime), "run", broken)
        with pytest.raises(UserError, match="the image, lung: the network's output is not finite"):
            predictor.predict(grey, "lung")


def test_the_example_script_writes_a_mask_and_says_the_class(repository, phantom_folder, tmp_path):
    sample = next(s for s in read_manifest(phantom_folder).samples if s.task_id == "breast_lesion")
    image = find_image(phantom_folder, sample.image_path)
    script = repository / "docs" / "examples" / "predict.py"
    command = [sys.executable, script, image, tmp_path / "mask.png"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"(benign|malignant), probability [01]\.\d\d\nbox in pixels: (\d+, ){3}\d+; mask: ", done.stdout)
    mask = read_image(tmp_path / "mask.png")
    assert mask.size == read_image(image).size
    assert set(np.unique(mask.pixels)) <= {0, 255}


def test_the_lines_of_the_readme_work_as_typed(repository, phantom_folder, tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", (repository / "README.md").read_text("utf-8"), re.DOTALL)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "phantoms").symlink_to(phantom_folder)
    # rglob does not follow the link; `make run` makes a folder there.
    block = block.replace('Path("out/phantoms")', 'Path("out/phantoms").resolve()')
    done = subprocess.run([sys.executable, "-c", block], capture_output=True, text=True, cwd=tmp_path, check=False,
                          env={**os.environ, "PYTHONPATH": str(repository)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    shape, probabilities, box = done.stdout.splitlines()
    height, width = eval(shape)
    assert sum(eval(probabilities)) == pytest.approx(1)
    x0, y0, x1, y1 = eval(box)
    assert 0 <= x0 <= x1 <= width
    assert 0 <= y0 <= y1 <= height
