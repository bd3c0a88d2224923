"""`python -m evaluate`: exit codes, output files, and commands that must run in the inference environment."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from unit.evaluate.answers import FILES
from unit.evaluate.folders import read_csv, write_csv

from evaluate.__main__ import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_score_prints_both_columns_and_writes_the_result(data: Path, spoilt: Path, tmp_path: Path) -> None:
    done = run("score", "--data-root", data, "--predictions", spoilt, "--json", tmp_path / "new" / "scores.json",
               "--jobs", 1, "--draws", 50)  # fmt: skip
    assert done.exit_code == 0
    for text in ("official", "strict", "cardiac_multi", "Hausdorff", "72 rows: 72 answered"):
        assert text in done.output
    assert json.loads((tmp_path / "new" / "scores.json").read_text())["bootstrap"]["draws"] == 50


def test_bad_scores_are_not_a_failure(data: Path, tmp_path: Path) -> None:
    done = run("score", "--data-root", data, "--predictions", tmp_path, "--draws", 50, "--jobs", 1)
    assert done.exit_code == 0
    assert "72 missing" in done.output


@pytest.mark.parametrize("command", ["score", "check"])
def test_missing_folders_are_exit_code_2(command: str, data: Path, exact: Path, tmp_path: Path) -> None:
    for data_root, predictions in ((tmp_path, exact), (data, tmp_path / "nowhere")):
        done = run(command, "--data-root", data_root, "--predictions", predictions)
        assert done.exit_code == 2
        assert done.output.splitlines()[-1].startswith("there is no folder")


def test_malformed_submission_is_exit_code_2_with_file_and_entry(data: Path, submission: Path) -> None:
    file = submission / "detection_predictions.json"
    entries = json.loads(file.read_text())
    del entries[4]["bbox_pixels"]
    file.write_text(json.dumps(entries))
    done = run("score", "--data-root", data, "--predictions", submission, "--jobs", 1)
    assert done.exit_code == 2
    assert "detection_predictions.json, entry 5" in done.output.splitlines()[-1]


def test_unknown_profile_is_refused(data: Path, exact: Path) -> None:
    assert run("score", "--data-root", data, "--predictions", exact, "--profile", "other").exit_code == 2


def test_check_packs_what_is_valid(data: Path, exact: Path, tmp_path: Path) -> None:
    done = run("check", "--data-root", data, "--predictions", exact, "--zip", tmp_path / "predictions.zip")
    assert done.exit_code == 0
    assert "valid: 72 rows" in done.output
    with zipfile.ZipFile(tmp_path / "predictions.zip") as archive:
        assert set(FILES.values()) <= set(archive.namelist())


def test_check_packs_only_valid_submissions(data: Path, submission: Path, tmp_path: Path) -> None:
    for number in range(8):
        (submission / f"masks/carotid_artery/case ({number}).png").unlink()
    done = run("check", "--data-root", data, "--predictions", submission, "--zip", tmp_path / "predictions.zip")
    assert done.exit_code == 2
    assert "8 errors" in done.output.splitlines()[-1]
    assert "and 3 more" in done.output
    assert not (tmp_path / "predictions.zip").exists()
    everything = run("check", "--data-root", data, "--predictions", submission, "--all")
    assert everything.output.count("carotid_artery.csv, line") == 8


def test_report_reuses_scores(own_data: Path, spoilt: Path, tmp_path: Path) -> None:
    for path in (own_data / "csv_files").iterdir():
        write_csv(path, read_csv(path)[:2])
    folders = ("--data-root", own_data, "--predictions", spoilt)
    run("score", *folders, "--json", tmp_path / "scores.json", "--draws", 50, "--jobs", 1)
    done = run(
        "report", *folders, "--scores", tmp_path / "scores.json", "--output", tmp_path / "page", "--title", "Mine"
    )
    assert done.exit_code == 0
    assert "<h1>Mine</h1>" in (tmp_path / "page" / "index.html").read_text()


def test_compare_writes_markdown_and_html(data: Path, exact: Path, spoilt: Path, tmp_path: Path) -> None:
    for name, predictions in (("a", exact), ("b", spoilt)):
        run("score", "--data-root", data, "--predictions", predictions, "--json", tmp_path / f"{name}.json",
            "--draws", 50, "--jobs", 1)  # fmt: skip
    files = tmp_path / "a.json", tmp_path / "b.json"
    done = run("compare", *files, "--draws", 50, "--html", tmp_path / "c.html")
    assert done.exit_code == 0
    assert done.output.startswith("# Comparison")
    assert (tmp_path / "c.html").read_text().startswith("<!DOCTYPE html>")
    done = run("compare", *files, "--draws", 50, "--markdown", tmp_path / "c.md", "--column", "official")
    assert done.output == ""
    assert "Official scores" in (tmp_path / "c.md").read_text()


COMMANDS = sorted(main.commands)


def test_the_list_of_commands() -> None:
    assert COMMANDS == ["check", "compare", "confidence", "gallery", "report", "score", "uusic-folder", "worst"]


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)])
def test_help_has_a_short_form_everywhere(arguments: list[str]) -> None:
    done = run(*arguments, "-h")
    assert (done.exit_code, done.output.startswith("Usage:")) == (0, True)


@pytest.mark.parametrize("command", ["report", "gallery", "uusic-folder"])
def test_errors_end_the_same_way(command: str, exact: Path, tmp_path: Path) -> None:
    predictions = [] if command == "uusic-folder" else ["--predictions", exact]
    done = run(command, "--data-root", tmp_path, *predictions, "--output", tmp_path.parent / f"{tmp_path.name} out")
    assert done.exit_code == 2
    assert done.output.splitlines()[-1].startswith("there is no folder")


LEAN = """
import sys

class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "matplotlib", "jinja2", "sklearn", "scipy", "pandas", "cv2", "playwright"}:
            raise ImportError(f"{name} is not part of the inference environment")

sys.meta_path.insert(0, Refused())
sys.argv[0] = "evaluate"
from evaluate.__main__ import main
main()
"""


@pytest.mark.parametrize("command", ["score", "check"])
def test_the_inference_environment_suffices(command: str, data: Path, exact: Path, repository: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAN, command, "--data-root", str(data), "--predictions", str(exact)],
        cwd=repository, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
