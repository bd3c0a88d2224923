"""A run knows its rows and its start: other ones are noticed when it is resumed, averaged or scored."""

import shutil
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner
from phantoms import write_folder
from PIL import Image
from unit.training.commands import assert_refused
from unit.training.data.scans import near_copy, scan, write_scans
from unit.training.recipes import TASKS, parts_of, tiny_config

from challenge.errors import UserError
from training.__main__ import main
from training.config import DataConfig
from training.data.pixels import PixelStore
from training.data.rows import DataSource
from training.distributed import Ranks
from training.loop.finetune import finetune_config
from training.loop.runs import FOLDS, cross_validate, is_finished, train_run
from training.loop.synchronise import sync_config
from training.run_folder import checkpoint_file
from training.run_folder.averaging import average_runs
from training.run_folder.checkpoint_state import RunState
from training.run_folder.digests import Digests
from training.run_folder.trainable import load_network, read_start

CONFIG = tiny_config(optim={"images": 16})


@pytest.fixture(scope="module")
def run(four_kinds, tmp_path_factory):
    """A finished run and its cache. Tests copy what they change."""
    folder = tmp_path_factory.mktemp("run")
    train_run(CONFIG, DataSource(four_kinds, folder / "cache"), folder / "run", Ranks())
    return folder / "run"


@pytest.fixture
def data(four_kinds, tmp_path):
    return shutil.copytree(four_kinds, tmp_path / "data")


def source(root, run, val_root=None):
    return DataSource(root, run.parent / "cache", val_root)


def command(name, *arguments):
    return CliRunner().invoke(main, [name, *map(str, arguments)], catch_exceptions=False)


def change_a_label(data):
    path = next(path for path in (data / "csv_files").glob("*.csv") if "breast_2cls" in path.read_text("utf-8"))
    head, first, *rest = path.read_text("utf-8").splitlines()
    column = head.split(",").index("mask")
    cells = first.split(",")
    cells[column] = str(1 - int(cells[column]))
    path.write_text("\n".join([head, ",".join(cells), *rest]) + "\n", "utf-8")


def drop_a_row(data):
    path = next((data / "csv_files").glob("*.csv"))
    path.write_text("\n".join(path.read_text("utf-8").splitlines()[:-1]) + "\n", "utf-8")


def paint_an_image(data):
    path = next(path for path in data.rglob("*.png") if "mask" not in str(path))
    with Image.open(path) as image:
        image.load()
        image.putpixel((0, 0), tuple(255 - value for value in image.convert("RGB").getpixel((0, 0)))
                       if image.mode == "RGB" else 255 - int(image.convert("L").getpixel((0, 0))))  # fmt: skip
    image.save(path)


@pytest.mark.parametrize("change", [change_a_label, drop_a_row, paint_an_image])
def test_a_run_does_not_continue_with_changed_data(change, run, data, tmp_path):
    home = shutil.copytree(run, tmp_path / "run")
    change(data)
    with pytest.raises(UserError, match=r"was started with other (training|dev) rows"):
        train_run(CONFIG, source(data, run), home, Ranks(), resume=True)


def test_the_place_of_the_data_does_not_matter(run, data, tmp_path):
    home = shutil.copytree(run, tmp_path / "run")
    train_run(CONFIG, source(data, run), home, Ranks(), resume=True)
    assert load_network(home)[1].facts.digests == load_network(run)[1].facts.digests


def test_a_finished_fold_on_other_data_is_not_summed_up(data, tmp_path):
    config = tiny_config(optim={"images": 4}, data={"tasks": ["breast_2cls"]})
    place = DataSource(data, tmp_path / "cache")
    cross_validate(config, place, tmp_path / "run", Ranks(), 2)
    (tmp_path / "run" / FOLDS).unlink()
    change_a_label(data)
    with pytest.raises(UserError, match="was started with other"):
        cross_validate(config, place, tmp_path / "run", Ranks(), 2, resume=True)
    assert not (tmp_path / "run" / FOLDS).exists()


@pytest.mark.parametrize("name", ["score", "refine", "calibrate", "robustness"])
def test_a_run_is_scored_only_on_its_own_rows(name, run, data, tmp_path):
    home = shutil.copytree(run, tmp_path / "run")
    change_a_label(data)
    assert_refused(command(name, home, "--data-root", data, "--cache", run.parent / "cache"), "are not the run's own")
    assert not list(home.glob("*temperatures.json")) + list(home.glob("refinements.json"))


def test_scores_on_another_folder_say_so(run, four_kinds, data, caplog):
    drop_a_row(data)
    result = command("score", run, "--data-root", four_kinds, "--val-root", data, "--cache", run.parent / "cache")
    assert f"Official scores on the 31 rows of {data}" in result.output
    assert "need not be the run's dev rows" in caplog.text


def test_a_run_with_a_val_root_is_refined_and_calibrated_on_it(four_kinds, tmp_path):
    write_folder(tmp_path / "val", seed=9, per_task=3, only=TASKS)
    train_run(CONFIG, DataSource(four_kinds, tmp_path / "cache", tmp_path / "val"), tmp_path / "run", Ranks())
    common = ["--data-root", four_kinds, "--cache", tmp_path / "cache"]
    for name in ("refine", "calibrate"):
        assert_refused(command(name, tmp_path / "run", *common), "--val-root, if it had one")
        lines = command(name, tmp_path / "run", *common, "--val-root", tmp_path / "val").stdout.splitlines()
        tasks = sorted(TASKS) if name == "refine" else ["breast_2cls, dev"]  # measured on what fitted: not at all
        assert [line.split(" | ")[0].strip("| ") for line in lines[2:]] == tasks


def test_a_start_without_recorded_rows_gives_a_warning(run, four_kinds, tmp_path, caplog):
    start = read_start(run)[0]
    old = replace(start, facts=replace(start.facts, digests=Digests()))
    train_run(CONFIG, source(four_kinds, run), tmp_path / "second", Ranks(), start=old)
    assert "does not record its training rows" in caplog.text


def test_a_start_chosen_on_the_same_rows_is_not_a_risk(run, four_kinds, tmp_path, caplog):
    train_run(CONFIG, source(four_kinds, run), tmp_path / "second", Ranks(), start=read_start(run)[0])
    assert "network to begin with" not in caplog.text
    other = replace(CONFIG, data=replace(CONFIG.data, split_seed=7))
    train_run(other, source(four_kinds, run), tmp_path / "third", Ranks(), start=read_start(run)[0])
    assert "had other dev rows" in caplog.text


def test_another_start_is_refused(run, four_kinds, tmp_path):
    place, start = source(four_kinds, run), read_start(run)[0]
    other = replace(start, state={name: value + 1 for name, value in start.state.items()})
    for name, network in (("one", start), ("other", other)):
        train_run(CONFIG, place, tmp_path / name, Ranks(), start=network)
    with pytest.raises(UserError, match="another network"):
        train_run(CONFIG, place, tmp_path / "one", Ranks(), resume=True, start=other)
    with pytest.raises(UserError, match="began with different networks"):
        average_runs([tmp_path / "one", tmp_path / "other"], tmp_path / "mean")


def test_runs_with_other_dev_rows_cannot_be_averaged(run, data, tmp_path):
    drop_a_row(data)
    start = read_start(run)[0]
    for name, root in (("one", data), ("other", data)):
        train_run(CONFIG, source(root, run), tmp_path / name, Ranks(), start=start)
    state = checkpoint_file.load(tmp_path / "other" / checkpoint_file.BEST)
    digests = replace(state.facts.digests, dev="of other rows")
    state = replace(state, facts=replace(state.facts, digests=digests))
    checkpoint_file.save(tmp_path / "other" / checkpoint_file.BEST, state)
    with pytest.raises(UserError, match="have different dev rows"):
        average_runs([tmp_path / "one", tmp_path / "other"], tmp_path / "mean")


def make_old(home):
    """Make a run that did not join near-copies into one that is older than this setting."""
    for name in (checkpoint_file.LAST, checkpoint_file.BEST):
        table = checkpoint_file.load(home / name).as_table()
        del table["config"]["data"]["near_copies"]
        torch.save(table, home / name)


def test_a_run_that_is_older_than_near_copies_keeps_its_split(tmp_path, caplog):
    pictures = {f"{number}": scan(number) for number in range(8)}
    pictures |= {f"twin of {name}": near_copy(pixels) for name, pixels in pictures.items()}
    place = DataSource(write_scans(tmp_path / "data", pictures), tmp_path / "cache")
    recipe = {"optim": {"images": 8}, "data": {"dev_fraction": 0.4}}
    old, now = (tiny_config(**{**recipe, "data": {**recipe["data"], "near_copies": least}}) for least in (0.0, 0.95))
    train_run(old, place, tmp_path / "old", Ranks())
    train_run(now, place, tmp_path / "new", Ranks())
    make_old(tmp_path / "old")
    before, other = (load_network(tmp_path / name)[1].facts.digests for name in ("old", "new"))
    assert before.dev != other.dev
    train_run(now, place, tmp_path / "old", Ranks(), resume=True)
    assert is_finished(now, place, tmp_path / "old", Ranks())
    assert "goes on without" in caplog.text
    assert load_network(tmp_path / "old")[1].facts.digests == before
    for name in ("score", "refine", "calibrate"):  # each refuses other rows than the run's own
        command(name, tmp_path / "old", "--data-root", place.data_root, "--cache", place.cache)
    with pytest.raises(UserError, match="another config"):
        train_run(old, place, tmp_path / "new", Ranks(), resume=True)


def test_a_network_that_is_older_than_near_copies_is_adapted_with_them(run, tmp_path):
    base = checkpoint_file.load(run / checkpoint_file.LAST).as_table()
    del base["config"]["data"]["near_copies"]
    config = RunState.from_table(base).config
    assert config.data.near_copies == 0
    assert finetune_config(config, 8, keep_others=True).data.near_copies == DataConfig().near_copies
    assert sync_config(config, 8).data.near_copies == DataConfig().near_copies


def test_the_hashes_of_all_images_are_gathered_once_whatever_the_number_of_rows(four_kinds, tmp_path, monkeypatch):
    """Gathered for every row, they took many minutes of a run over 40,000 images before its first step."""
    train, dev = parts_of(DataSource(four_kinds, tmp_path / "cache"), CONFIG)
    before, calls = Digests.of(train, dev), []
    for name in ("contents", "mask_contents"):
        gathered = getattr(PixelStore, name)
        monkeypatch.setattr(PixelStore, name, lambda self, get=gathered: calls.append(self) or get(self))
    assert Digests.of(replace(train, samples=[*train.samples]), dev) == before
    assert len(train.samples) > 4
    assert len(calls) == 4
