"""The scripts around the image, with a fake engine: what they refuse, and what they leave."""

import os
import subprocess

import pytest


@pytest.fixture
def call(repository, tmp_path):
    def run(script, *arguments, engine, **variables):
        (tmp_path / "engine").write_text(f"#!/bin/sh\n{engine}\n")
        (tmp_path / "engine").chmod(0o755)
        return subprocess.run(
            ["bash", str(repository / "docker" / script), *map(str, arguments)], capture_output=True, text=True,
            check=False, env={**os.environ, "ENGINE": str(tmp_path / "engine"), **variables},
        )  # fmt: skip

    return run


def test_a_failed_save_keeps_the_earlier_archive(call, tmp_path):
    folder = tmp_path / "with space"
    folder.mkdir()
    assert call("do_save.sh", folder / "a.tar.gz", engine="echo whole").returncode == 0
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(before) == ["a.cdx.json", "a.tar.gz"]
    assert call("do_save.sh", folder / "a.tar.gz", engine="echo half; exit 1").returncode != 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_test_run_on_missing_folders_is_refused(call, tmp_path):
    done = call("do_test_run.sh", tmp_path / "nowhere", tmp_path / "out", engine="exit 0")
    assert (done.returncode, done.stderr) == (2, f"there is no folder {tmp_path / 'nowhere'}; give the data folder\n")
    done = call("do_test_run.sh", tmp_path, tmp_path / "out", engine="exit 0", INPUT_JSON="nowhere.json")
    assert done.returncode == 2
    assert "there is no file nowhere.json" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("weights", ["weights-nowhere", "out/weights", "../weights", "docs"])
def test_a_build_with_weights_that_cannot_enter_the_image_is_refused(call, weights):
    done = call("do_build.sh", engine="exit 0", WEIGHTS=weights)
    assert done.returncode == 2
    assert f"WEIGHTS is '{weights}'; export the weights to" in done.stderr


def test_a_build_says_which_weights_and_which_level(call, tmp_path):
    engine = f'[ "$1" != build ] || echo "$@" > "{tmp_path}/said"'
    assert call("do_build.sh", engine=engine, POSTPROCESS="views").returncode == 0
    said = (tmp_path / "said").read_text()
    assert "--build-arg WEIGHTS=weights " in said
    assert "--build-arg POSTPROCESS=views " in said
