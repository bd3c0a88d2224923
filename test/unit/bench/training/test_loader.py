"""The measurement of the data loader: one line per recipe, every stage in it."""

from click.testing import CliRunner

from bench.training.challenge_folder import write_challenge_folder
from bench.training.loader import Speed, loader


def test_the_speed_is_that_of_all_stages_together():
    assert Speed(1.0, 2.5, 0.5).images_per_second == 250


def test_each_recipe_has_a_line_with_its_stages(tmp_path):
    write_challenge_folder(tmp_path / "data", 60, processes=1)
    recipe = tmp_path / "small.toml"
    recipe.write_text('name = "small"\n[data]\nimage_size = 64\n[augment]\ngeometry = 1.0\nspeckle = 1.0\n')
    found = CliRunner().invoke(
        loader,
        ["--config", str(recipe), "--data-root", str(tmp_path / "data"), "--cache", str(tmp_path / "cache"),
         "--images", "32"],
    )  # fmt: skip
    assert found.exit_code == 0, found.output
    name, speed, read, augment, collate = (cell.strip() for cell in found.output.splitlines()[-1].strip("|").split("|"))
    assert name == "small"
    assert float(speed) > 0
    assert float(read) > 0
    assert float(augment) > 0
    assert float(collate) >= 0
