"""A small data folder with its truth as a submission; copies for tests that write."""

import shutil
from pathlib import Path

import pytest
from unit.evaluate.answers import write_answers
from unit.evaluate.folders import write_data


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder of 72 rows. Not to be written to."""
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def exact(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The truth of `data` as a submission. Not to be written to."""
    folder = tmp_path_factory.mktemp("exact")
    write_answers(data, folder)
    return folder


@pytest.fixture(scope="session")
def spoilt(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A submission that is off by some 8 % of the images' size. Not to be written to."""
    folder = tmp_path_factory.mktemp("spoilt")
    write_answers(data, folder, spoil=0.08)
    return folder


@pytest.fixture
def submission(exact: Path, tmp_path: Path) -> Path:
    """A copy of the exact submission, to be broken."""
    return Path(shutil.copytree(exact, tmp_path / "submission"))


@pytest.fixture
def own_data(data: Path, tmp_path: Path) -> Path:
    """A copy of the data folder, to be changed."""
    return Path(shutil.copytree(data, tmp_path / "data"))
