"""`python -m training`: help everywhere, and how errors end."""

import pytest
from click.testing import CliRunner
from unit.training.commands import assert_refused

from training.__main__ import main


@pytest.mark.parametrize("arguments", [[], *([name] for name in sorted(main.commands))])
def test_help_has_a_short_form_everywhere(arguments):
    done = CliRunner().invoke(main, [*arguments, "-h"])
    assert (done.exit_code, done.output.startswith("Usage:")) == (0, True)


def test_a_missing_run_is_one_sentence(tmp_path):
    arguments = ["score", str(tmp_path / "none"), "--data-root", str(tmp_path)]
    assert_refused(CliRunner().invoke(main, arguments), "^there is no checkpoint in .*; train first, or give another")


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--config", "training/configs/atlas.toml"),
        ("inspect",),
        ("finetune", "--from", "weights"),
        ("sync", "--from", "weights"),
        ("aggregate", "--config", "training/configs/atlas.toml", "--val-root", "val"),
    ],
)
@pytest.mark.parametrize(("output", "said"), [("", "is the input folder"), ("run", "is inside the input folder")])
def test_an_output_in_the_data_folder_is_refused(repository, monkeypatch, tmp_path, command, output, said):
    monkeypatch.chdir(repository)
    arguments = [*command, "--data-root", str(tmp_path), "--output", str(tmp_path / output)]
    assert_refused(CliRunner().invoke(main, arguments), f"^--output .* {said} .*; give ")
    assert not list(tmp_path.iterdir())
