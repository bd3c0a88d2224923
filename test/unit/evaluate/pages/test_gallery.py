import base64
import hashlib
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from phantoms import write_folder
from phantoms.bad_inputs import BAD_INPUTS, write_bad_folder
from PIL import Image

from challenge.imaging.decode import read_size
from challenge.manifest import Row, Sample, read_manifest
from challenge.masks.true_masks import read_true_mask
from challenge.paths import find_image
from challenge.predictions import (
    BlankMask,
    BoxPrediction,
    ClassPrediction,
    MaskPrediction,
    PointsPrediction,
    Prediction,
)
from challenge.targets import box, label, points
from challenge.tasks import TaskKind
from challenge.writers import entry, write_json, write_mask
from evaluate.__main__ import main
from evaluate.pages.gallery_cards import describe, looks_like_prior
from evaluate.pages.rows import read_truth

TASKS = ("breast_lesion", "breast_2cls", "breast_lesion_det", "lung", "organ_cls", "FUGC", "fetal_head_biometry")
PRIOR = {"organ_cls", "FUGC"}


def answer(sample: Sample, folder: Path) -> Prediction:
    """The truth, or the prior for some tasks."""
    width, height = read_size(find_image(folder, sample.image_path)) or (0, 0)
    match sample.kind:
        case TaskKind.SEGMENTATION:
            assert sample.mask_file is not None
            return MaskPrediction(read_true_mask(folder / sample.mask_file, sample.num_classes).labels)
        case TaskKind.CLASSIFICATION:
            index, count = label(sample) or 0, sample.num_classes
            if sample.task_id in PRIOR:
                return ClassPrediction((1 / count,) * count, 0)
            return ClassPrediction(tuple(0.9 if i == index else 0.1 / (count - 1) for i in range(count)), index)
        case TaskKind.DETECTION:
            x0, y0, x1, y1 = box(sample) or (0, 0, 0, 0)
            return BoxPrediction((x0, y0, x1, y1), (x0 / width, y0 / height, x1 / width, y1 / height))
        case TaskKind.REGRESSION:
            if sample.task_id in PRIOR:
                halves = (0.5,) * (2 * sample.num_classes)
                return PointsPrediction((width / 2, height / 2) * sample.num_classes, halves)
            pixels = [value for point in points(sample) if point for value in point]
            shares = [value / (height if i % 2 else width) for i, value in enumerate(pixels)]
            return PointsPrediction(tuple(pixels), tuple(shares))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_folder(folder, per_task=3, only=TASKS)
    return folder


@pytest.fixture(scope="module")
def predictions(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictions")
    samples = read_manifest(data).samples
    answers = [(sample, answer(sample, data)) for sample in samples]
    for sample, prediction in answers:
        if isinstance(prediction, MaskPrediction):
            write_mask(folder, sample, prediction)
    write_json(
        folder, lambda kind: [entry(sample, prediction) for sample, prediction in answers if sample.kind is kind]
    )
    return folder


def without_pictures(html: str) -> str:
    return re.sub(r'(src|data-plain)="data:[^"]*"', "", html)


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, and the texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def all(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def run(data: Path, predictions: Path, output: Path, *options: str) -> str:
    arguments = ["--data-root", str(data), "--predictions", str(predictions), "--output", str(output), *options]
    result = CliRunner().invoke(main, ["gallery", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert result.output.strip().endswith("index.html")
    return (output / "index.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def html(data: Path, predictions: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return run(data, predictions, tmp_path_factory.mktemp("page"), "--with-truth", "--per-task", "2")


def test_one_section_per_kind_and_one_article_per_task(html: str) -> None:
    page = Page(html)
    assert [section["id"] for section in page.all("section")] == [kind.value for kind in TaskKind]
    assert len(page.all("article")) == len(TASKS)
    assert len(page.all("figure")) == 2 * len(TASKS)
    assert set(TASKS) <= set(page.texts)


def test_the_page_needs_no_other_file(html: str) -> None:
    page = Page(html)
    for attributes in (attributes for _, attributes in page.tags):
        for name in ("src", "href"):
            assert re.match(r"data:image/|#", attributes.get(name) or "#")
    assert "http" not in without_pictures(html).replace("http-equiv", "")
    assert "default-src 'none'" in html
    assert "@import" not in html
    assert "$" not in without_pictures(html)


def test_pictures_are_embedded_with_their_size(html: str) -> None:
    pictures = [attributes for attributes in Page(html).all("img") if attributes.get("src")]
    assert len(pictures) == 2 * len(TASKS)
    for attributes in pictures:
        source = attributes["src"] or ""
        with Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1]))) as image:
            assert image.size == (int(attributes["width"] or 0), int(attributes["height"] or 0))
            assert attributes["alt"]


def test_untrained_tasks_are_marked(html: str) -> None:
    page = Page(html)
    assert len([article for article in page.all("article") if article.get("class") == "prior"]) == len(PRIOR)
    assert page.texts.count("prior: untrained head") == len(PRIOR)
    assert "2 tasks answered by the prior" in html


def test_the_truth_scores_the_answers(html: str) -> None:
    texts = Page(html).texts
    assert texts.count("Dice 1.000") == 2 * 3  # two tasks: their mean and two pictures each
    assert texts.count("IoU 1.000") == 3
    assert "error 0.0 px" in texts
    assert "correct 100%" in texts


def test_without_truth_there_are_no_scores(data: Path, predictions: Path, tmp_path: Path) -> None:
    html = run(data, predictions, tmp_path, "--per-task", "1")
    assert not re.search(r"Dice|IoU|correct|error \d|truth", without_pictures(html))


def report(**changes: object) -> dict[str, object]:
    table: dict[str, object] = {
        "schema": 1,
        "status": "complete",
        "rows": 21,
        "answered": 21,
        "fallbacks": [],
        "prior_tasks": ["lung"],
        "device": {"used": "cpu"},
        "precision": "float32",
        "weights": {"name": "weights <of> mine", "sha256": "0123456789abcdef"},
        "timings": {"total_s": 2.34},
    }
    return table | changes


def test_the_run_report_says_what_the_page_shows(data: Path, predictions: Path, tmp_path: Path) -> None:
    sample = next(s for s in read_manifest(data).samples if s.task_id == "breast_2cls")
    fallback = {"row": "", "image_path": sample.image_path, "task_id": "breast_2cls", "reason": "broken & gone"}
    (tmp_path / "report.json").write_text(json.dumps(report(fallbacks=[fallback])))
    html = run(data, predictions, tmp_path / "out", "--run-report", str(tmp_path / "report.json"))
    assert "weights &lt;of&gt; mine" in html
    texts = Page(html).texts
    for text in ("0123456789ab", "cpu, float32", "21 of 21 answered", "2.3 s", "fallback: broken & gone"):
        assert text in texts
    assert texts.count("prior: untrained head") == 1  # what the report says, not what the answers look like


@pytest.mark.parametrize(
    "content", ["no json", "[]", "{}", '{"schema": 1, "weights": 3}', json.dumps(report(fallbacks=[{}]))]
)
def test_a_file_that_is_not_a_run_report_is_refused(
    data: Path, predictions: Path, tmp_path: Path, content: str
) -> None:
    (tmp_path / "report.json").write_text(content)
    arguments = ["--data-root", str(data), "--predictions", str(predictions), "--output", str(tmp_path / "out"),
                 "--run-report", str(tmp_path / "report.json")]  # fmt: skip
    result = CliRunner().invoke(main, ["gallery", *arguments])
    assert result.exit_code == 2
    assert "run report" in result.output


def test_a_folder_without_manifests_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    arguments = ["--data-root", str(tmp_path / "empty"), "--predictions", str(tmp_path / "empty"),
                 "--output", str(tmp_path / "out")]  # fmt: skip
    result = CliRunner().invoke(main, ["gallery", *arguments])
    assert result.exit_code == 2
    assert "csv_files" in result.output


def test_rows_that_cannot_be_read_or_have_no_answer_are_shown(tmp_path: Path) -> None:
    write_bad_folder(tmp_path / "bad")
    (tmp_path / "predictions").mkdir()
    html = run(tmp_path / "bad", tmp_path / "predictions", tmp_path / "out", "--per-task", "99", "--with-truth")
    texts = Page(html).texts
    assert len(Page(html).all("figure")) == 4 * (len(BAD_INPUTS) + 1)
    assert any("page.png: no image" in text for text in texts)
    assert any(text.startswith("no such file") for text in texts)
    assert "no answer" in texts
    assert f"{4 * (len(BAD_INPUTS) + 1)} pictures with a problem" in html


def test_names_are_escaped(tmp_path: Path) -> None:
    name = "a<script>&\"'.png"
    data = tmp_path / "data"
    (data / "csv_files").mkdir(parents=True)
    (data / "csv_files" / "a.csv").write_text(
        'image_path,task_id,task_name\n"../a<script>&""\'.png",<b>mine</b>,detection\n'
    )
    (tmp_path / "predictions").mkdir()
    html = run(data, tmp_path / "predictions", tmp_path / "out")
    page = Page(html)
    assert len(page.all("script")) == 1
    assert not page.all("b")
    assert name in page.texts
    assert "<b>mine</b>" in page.texts


def test_rows_are_spread_over_the_manifest(data: Path, predictions: Path, tmp_path: Path) -> None:
    html = run(data, predictions, tmp_path, "--per-task", "1")
    assert len(Page(html).all("figure")) == len(TASKS)
    assert "1 of 3 rows" in html


NUMBERED = ("class 0", "class 1", "class 2", "class 3")
HALF = (0.5, 0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (BlankMask(3, 4), True),
        (MaskPrediction(np.zeros((3, 4), np.uint8)), True),
        (MaskPrediction(np.eye(3, dtype=np.uint8)), False),
        (ClassPrediction((0.25,) * 4, 0), True),
        (ClassPrediction((0.26, 0.24, 0.25, 0.25), 0), False),
        (BoxPrediction((1, 1, 3, 3), (0.25, 0.25, 0.75, 0.75)), True),
        (BoxPrediction((1, 1, 3, 3), (0.25, 0.25, 0.75, 0.8)), False),
        (PointsPrediction((2, 2, 2, 2), HALF), True),
        (PointsPrediction((2, 2, 2, 3), (0.5, 0.5, 0.5, 0.75)), False),
    ],
)
def test_what_a_prior_looks_like(prediction: Prediction, expected: bool) -> None:
    assert looks_like_prior(prediction) is expected


@pytest.mark.parametrize(
    ("prediction", "words"),
    [
        (None, ""),
        (MaskPrediction(np.zeros((2, 2), np.uint8)), "nothing found"),
        (MaskPrediction(np.array([[0, 1], [3, 3]], np.uint8)), "class 1: 25.0%, class 3: 50.0%"),
        (ClassPrediction((0.2, 0.8), 1), "class 1 (80%)"),
        (ClassPrediction((0.2, 0.8), 7), "class 7"),
        (BoxPrediction((1, 2, 11, 22), HALF), "10 x 20 px at (1, 2)"),
        (PointsPrediction((0, 0, 3, 4, 9, 9), HALF), "class 0 to class 1: 5 px"),
    ],
)
def test_answers_in_words(prediction: Prediction | None, words: str) -> None:
    assert describe(prediction, NUMBERED) == words


def test_classes_have_the_names_that_a_file_gives_them(data: Path, predictions: Path, tmp_path: Path) -> None:
    names = '[breast_2cls]\nclasses = ["benign", "malignant <b>"]\n[FUGC]\nclasses = ["inner os", "outer os"]\n'
    (tmp_path / "names.toml").write_text(names)
    html = run(data, predictions, tmp_path / "out", "--class-names", str(tmp_path / "names.toml"))
    page = Page(html)
    assert page.texts.count("benign") == page.texts.count("malignant <b>") == 3
    assert "inner os to outer os: 0 px" in page.texts


def test_the_run_report_names_the_classes(data: Path, predictions: Path, tmp_path: Path) -> None:
    named = report(class_names={"breast_2cls": ["benign", "malignant"], "organ_cls": ["too", "few"]})
    (tmp_path / "report.json").write_text(json.dumps(named))
    texts = Page(run(data, predictions, tmp_path / "out", "--run-report", str(tmp_path / "report.json"))).texts
    assert texts.count("benign") == texts.count("malignant") == 3
    assert "too" not in texts


def test_names_for_another_number_of_classes_are_refused(data: Path, predictions: Path, tmp_path: Path) -> None:
    (tmp_path / "names.toml").write_text('[breast_2cls]\nclasses = ["benign"]\n')
    arguments = ["--data-root", str(data), "--predictions", str(predictions), "--output", str(tmp_path / "out"),
                 "--class-names", str(tmp_path / "names.toml")]  # fmt: skip
    result = CliRunner().invoke(main, ["gallery", *arguments])
    assert result.exit_code == 2
    assert "breast_2cls has 2 classes, but 1 names" in result.output


def test_a_wrong_class_is_named_with_the_true_one(data: Path, predictions: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(predictions, tmp_path / "own"))
    path = own / "classification_predictions.json"
    entries = json.loads(path.read_text())
    for entry_ in entries:
        if entry_["task_id"] == "breast_2cls":
            entry_.update(
                predicted_class=1 - entry_["predicted_class"], predicted_probs=entry_["predicted_probs"][::-1]
            )
    path.write_text(json.dumps(entries))
    (tmp_path / "names.toml").write_text('[breast_2cls]\nclasses = ["benign", "malignant"]\n')
    html = run(data, own, tmp_path / "out", "--with-truth", "--class-names", str(tmp_path / "names.toml"))
    texts = Page(html).texts
    assert {"said benign, is malignant", "said malignant, is benign"} <= set(texts)
    assert "correct 0%" in texts


def test_the_score_of_a_task_is_that_of_all_its_rows(data: Path, predictions: Path, tmp_path: Path) -> None:
    """One picture is shown, and its mask is right; those of the two other rows are not."""
    own = Path(shutil.copytree(predictions, tmp_path / "own"))
    _, *others = [sample for sample in read_manifest(data).samples if sample.task_id == "lung"]
    for sample in others:
        (own / str(sample.mask_file)).unlink()
    html = run(data, own, tmp_path / "out", "--with-truth", "--per-task", "1")
    article = html[html.index('data-task="lung"') :]
    assert re.search(r'class="score">Dice 0\.333<small>all rows', article)
    assert Page(html).texts.count("Dice 1.000") == 3  # breast_lesion and its picture, and the picture of lung


def test_scores_that_lack_rows_are_refused(data: Path, predictions: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    arguments = ["--data-root", str(data), "--predictions", str(predictions)]
    assert CliRunner().invoke(main, ["score", *arguments, "--json", str(scores), "--draws", "2"]).exit_code == 0
    html = run(data, predictions, tmp_path / "out", "--scores", str(scores))
    assert "correct 100%" in Page(html).texts
    table = json.loads(scores.read_text())
    table["cases"] = table["cases"][1:]
    scores.write_text(json.dumps(table))
    result = CliRunner().invoke(
        main, ["gallery", *arguments, "--output", str(tmp_path / "out"), "--scores", str(scores)]
    )
    assert result.exit_code == 2
    assert "the scores lack the row" in result.output


def test_a_run_report_of_another_output_is_noticed(data: Path, predictions: Path, tmp_path: Path) -> None:
    name = "detection_predictions.json"
    digest = hashlib.sha256((predictions / name).read_bytes()).hexdigest()
    stranger = {"row": "a.csv, line 2", "image_path": "../a.png", "task_id": "lung", "reason": "lost"}
    rows = len(read_manifest(data).samples)
    for changes, noticed in (
        ({}, ""),
        ({"rows": 7}, "it is about 7 rows, but the csv files have"),
        ({"fallbacks": [stranger]}, "it names ../a.png of lung"),
        ({"answer_files": {name: "0" * 64}}, f"{name} has changed"),
    ):
        table = report(**{"rows": rows, "answer_files": {name: digest}, **changes})
        (tmp_path / "report.json").write_text(json.dumps(table))
        html = run(
            data, predictions, tmp_path / "out", "--run-report", str(tmp_path / "report.json"), "--per-task", "1"
        )
        found = [text for text in Page(html).texts if text.startswith("The run report belongs to another output")]
        assert [noticed in text for text in found] == ([True] if noticed else [])


def test_missing_truth() -> None:
    def sample(kind: TaskKind, **cells: str) -> Sample:
        return Sample("a.png", "t", kind, 2, Row("a.csv", 2), None, cells)

    for kind in (TaskKind.CLASSIFICATION, TaskKind.DETECTION, TaskKind.REGRESSION):
        assert read_truth(sample(kind), Path(), (10, 10)) is None
    partial = read_truth(sample(TaskKind.REGRESSION, point_2_xy="[3, 5]"), Path(), (10, 10))
    assert isinstance(partial, PointsPrediction)
    np.testing.assert_array_equal(partial.pixels, [np.nan, np.nan, 3, 5])
    np.testing.assert_array_equal(partial.normalized, [np.nan, np.nan, 0.3, 0.5])
