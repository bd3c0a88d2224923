"""`python -m bench recipes`: what the table says, and what is asked of training."""

import pytest
from click.testing import CliRunner

from bench import recipes
from bench.measuring.stopwatch import FailedError, Usage
from challenge.errors import UserError
from model.networks import list_systems
from training.config import load_config


def test_the_table_counts_one_step_and_one_row(monkeypatch, repository, tmp_path):
    commands = []
    used = iter((Usage(9, 10.0, 800), Usage(9, 18.0, 1234.4), Usage(0, 0, 0), Usage(1, 2.0, 700)))

    def note(command, folder):
        commands.append([str(word) for word in command])
        return next(used)

    monkeypatch.setattr(recipes, "run", note)
    (tmp_path / "csv_files").mkdir()
    (tmp_path / "csv_files" / "a.csv").write_text("image_path\n1\n2\n3\n4\n")
    row = recipes.measure(repository / "training" / "configs" / "atlas.toml", tmp_path, 2, tmp_path, ("seed=7",))
    one, five, exported, answered = commands
    assert {"optim.images=4", "optim.batch_size=2", "seed=7"} <= set(one)
    assert {"optim.images=20", "optim.batch_size=2", "seed=7"} <= set(five)
    assert exported[exported.index("export") + 1] == str(tmp_path / "run-5")
    assert "--strict" in answered
    assert recipes.table([row]).splitlines()[-1] == "| `atlas` | 256 | 2 | 2.0 | 1,234 | 500 | 700 |"


@pytest.fixture
def measured(monkeypatch):
    """The names of the recipes that were measured; `uniseg` fails the first time."""
    names = []

    def measure(recipe, phantoms, batch_size, work, overrides):
        assert work.is_dir()
        names.append(recipe.stem)
        if recipe.stem == "uniseg" and names.count("uniseg") == 1:
            raise FailedError(["python", "-m", "training"], 1, "no memory left")
        return recipes.Row(recipe.stem, 256, batch_size, 1.5, 800.0, Usage(1, 2.0, 300.0), 88)

    monkeypatch.setattr(recipes, "measure", measure)
    monkeypatch.setattr(recipes, "write_phantoms", lambda folder, truth: folder.mkdir())
    return names


def invoke(*arguments):
    return CliRunner().invoke(recipes.recipes, [str(word) for word in arguments])


def test_without_names_the_five_published_recipes_are_measured_and_a_failed_one_stops_no_other(measured, tmp_path):
    first = invoke("--results", tmp_path / "results")
    assert measured == list(recipes.PUBLISHED)
    assert isinstance(first.exception, UserError)
    assert "not measured: uniseg (python -m training ended with 1: no memory left)" in str(first.exception)
    assert "| `m2dino` | 256 | 2 | 1.5 | 800 | 23 | 300 |" in first.output
    assert "uniseg" not in first.output
    again = invoke("--results", tmp_path / "results")
    assert measured == [*recipes.PUBLISHED, "uniseg"]  # what is known is not measured again
    assert again.exit_code == 0
    assert [line.split("`")[1] for line in again.output.splitlines() if "`" in line][:5] == list(recipes.PUBLISHED)


def test_other_settings_are_measured_anew(measured, repository, tmp_path):
    asked = ("--recipe", repository / "training" / "configs" / "m2dino.toml", "--results", tmp_path)
    for more in ((), (), ("--batch-size", 4), ("--batch-size", 4, "--set", "seed=7")):
        assert invoke(*asked, *more).exit_code == 0
    assert measured == ["m2dino"] * 3


def test_every_published_system_has_its_recipe(repository):
    systems = {load_config(repository / "training" / "configs" / f"{n}.toml").system.name for n in recipes.PUBLISHED}
    assert systems == set(list_systems()) - {"atlas"}
