"""Markup in the names of tasks, files and runs, and in reasons: pages have the tags and attributes of a plain one."""

import csv
import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from unit.evaluate.answers import write_answers
from unit.evaluate.folders import read_csv, write_csv, write_data
from unit.evaluate.test_command_line import run

MARKUP = "\"><script>alert('1')</script><img src=x onerror=y>&amp;\n$x ${y} {{ 7 * 7 }} --> ' \""
IN_FILES = MARKUP.replace("/", "_")
ATTRIBUTES = '" onmouseover="x" data-x=\'1'
NAMES = {"markup": MARKUP, "attributes": ATTRIBUTES}


class Page(HTMLParser):
    """What a browser would find: tags with their attributes in order, and the text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def structure(self) -> list[tuple[str, list[str]]]:
        return [(tag, list(attributes)) for tag, attributes in self.tags]

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]


class Folder:
    """A data folder, answers, a run report and two results, with `name` in every text that somebody else chooses."""

    def __init__(self, root: Path, name: str) -> None:
        self.root, self.name = root, name
        self.in_files = name.replace("/", "_")
        self.data, self.answers = write_data(root / "data", per_task=3), root / "answers"
        for path in sorted((self.data / "csv_files").iterdir()):
            write_csv(path, [self._renamed(row) for row in read_csv(path)])
        write_answers(self.data, self.answers)
        (self.data / self._image("FUGC", 2)).write_text("no image")
        (self.answers / "masks/carotid_artery/case (0).png").unlink()
        self.report = root / f"{self.in_files}.json"
        self.report.write_text(json.dumps(self._report()))
        self.results = [root / f"{self.in_files} a.json", root / f"{self.in_files} b.json"]
        for path in self.results:
            done = run("score", *self.folders(), "--json", path, "--draws", 20, "--jobs", 1)
            assert done.exit_code == 0, done.output

    def folders(self) -> tuple[object, ...]:
        return "--data-root", self.data, "--predictions", self.answers

    def _image(self, task_id: str, index: int) -> str:
        return f"images/{task_id}/case ({index}).png{self.in_files}"

    def _renamed(self, row: dict[str, str]) -> dict[str, str]:
        image, task_id = row["image_path"].removeprefix("../"), row["task_id"]
        shutil.move(self.data / image, self.data / (image + self.in_files))
        return row | {"image_path": row["image_path"] + self.in_files, "task_id": task_id + self.name}

    def _report(self) -> dict[str, object]:
        name = self.name
        row = {"row": name, "image_path": f"../{self._image('breast_2cls', 0)}", "task_id": f"breast_2cls{name}"}
        return {
            "schema": 1,
            "status": name,
            "exit_code": 0,
            "rows": 18,
            "answered": 18,
            "fallbacks": [row | {"reason": f"because {name}"}],
            "notes": [row | {"note": f"note {name}"}],
            "prior_tasks": [f"breast_3cls{name}"],
            "device": {"used": name},
            "precision": name,
            "weights": {"name": name, "sha256": name},
            "versions": {name: name},
            "timings": {"total_s": 2.0, "first_prediction_s": 1.0, "rows_per_s": 7.0},
            "peak_memory_mib": 100.0,
        }


def gallery(folder: Folder) -> Page:
    done = run("gallery", *folder.folders(), "--output", folder.root / "gallery", "--with-truth",
               "--run-report", folder.report)  # fmt: skip
    assert done.exit_code == 0, done.output
    return Page((folder.root / "gallery" / "index.html").read_text(encoding="utf-8"))


def report(folder: Folder) -> Page:
    done = run("report", *folder.folders(), "--output", folder.root / "report", "--scores", folder.results[0],
               "--title", folder.name, "--run-report", folder.report)  # fmt: skip
    assert done.exit_code == 0, done.output
    return Page((folder.root / "report" / "index.html").read_text(encoding="utf-8"))


def comparison(folder: Folder) -> Page:
    done = run("compare", *folder.results, "--html", folder.root / "compare.html", "--draws", 20)
    assert done.exit_code == 0, done.output
    return Page((folder.root / "compare.html").read_text(encoding="utf-8"))


PAGES: dict[str, Callable[[Folder], Page]] = {"gallery": gallery, "report": report, "compare": comparison}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Page]:
    """Every page by the text in its names, and its kind."""
    names = {"plain": "plain", **NAMES}
    folders = {key: Folder(tmp_path_factory.mktemp(key), name) for key, name in names.items()}
    return {(key, kind): write(folder) for key, folder in folders.items() for kind, write in PAGES.items()}


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("key", NAMES)
def test_names_add_no_tag_and_no_attribute(key: str, kind: str, pages: dict[tuple[str, str], Page]) -> None:
    assert pages[key, kind].structure() == pages["plain", kind].structure()


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize("key", NAMES)
def test_names_are_shown_as_they_are(key: str, kind: str, pages: dict[tuple[str, str], Page]) -> None:
    text = pages[key, kind].text
    names = [f"breast_2cls{NAMES[key]}"] if kind != "compare" else [f"{NAMES[key].replace('/', '_')} a"]
    for name in names:
        assert name in text


@pytest.mark.parametrize("key", NAMES)
def test_captions_of_the_gallery_are_the_attribute(key: str, pages: dict[tuple[str, str], Page]) -> None:
    name, captions = NAMES[key], pages[key, "gallery"].values("data-caption")
    assert len(captions) == 18
    path = f"../images/breast_2cls/case (0).png{name.replace('/', '_')}"
    [caption] = [caption for caption in captions if path in caption]
    assert caption.startswith(f"breast_2cls{name}: class 0 (")
    assert caption.endswith(f"; right\n{path} (breast_2cls.csv, line 2)\nfallback: because {name}")
    assert path in pages[key, "gallery"].values("title")
    assert any(text.startswith(f"breast_2cls{name}: class 0") for text in pages[key, "gallery"].values("alt"))


@pytest.mark.parametrize("key", NAMES)
def test_captions_of_the_report_are_the_attribute(key: str, pages: dict[tuple[str, str], Page]) -> None:
    name, page = NAMES[key], pages[key, "report"]
    path = f"../images/breast_2cls/case (0).png{name.replace('/', '_')}"
    [caption] = [caption for caption in page.values("data-caption") if path in caption]
    assert caption.startswith(f"breast_2cls{name}, worst to best: right")
    assert caption.endswith(f"\n{path} (breast_2cls.csv, line 2)")
    assert f"task-breast_2cls{name}" in page.values("id")
    assert f"#task-breast_2cls{name}" in page.values("href")
    for text in (f"because {name}", f"note {name}", f"{name} {name}"):
        assert text in page.text
    labels = [" ".join(label.split()) for label in page.values("aria-label")]
    assert " ".join(f"thyroid_nodule_det{name}: IoU per image".split()) in labels


def test_markdown_keeps_its_tables(tmp_path: Path) -> None:
    folder = Folder(tmp_path, MARKUP)
    done = run("compare", *folder.results, "--markdown", tmp_path / "c.md", "--draws", 20)
    assert done.exit_code == 0, done.output
    lines = (tmp_path / "c.md").read_text(encoding="utf-8").splitlines()
    assert not any(line.lstrip().startswith(("$x", "<script")) for line in lines)
    assert "<script" not in "\n".join(lines).replace("\\<", "")


def test_the_names_survive_the_csv(tmp_path: Path) -> None:
    """Checks an assumption of the tests above."""
    folder = Folder(tmp_path, MARKUP)
    with (folder.data / "csv_files" / "FUGC.csv").open(newline="", encoding="utf-8") as stream:
        assert next(csv.DictReader(stream))["task_id"] == f"FUGC{MARKUP}"
