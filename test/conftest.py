"""Fixtures that all tests share: the repository, a synthetic data folder, the real data where there is some."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from phantoms import write_folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic data folder with every task, three pictures each, and their truth. Tests must not write into it."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_folder(folder, seed=0, per_task=3)
    return folder


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own are closed to all but one."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture(scope="session")
def ultrasound_data(repository: Path) -> Path:
    """The folder of real data, with `train/` and `val/`."""
    folder = Path(os.environ.get("FMC_UIA_DATA", repository.parent / "shared" / "data" / "ultrasound"))
    if not (folder / "val" / "csv_files").is_dir():
        pytest.skip(f"no real data in {folder}; set FMC_UIA_DATA to a folder with train/ and val/")
    return folder
