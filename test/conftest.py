"""Shared by all tests: the repository, a synthetic data folder, the real data, and which skips are failures."""

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from phantoms import write_folder

NEEDED = {"ray": "cluster", "browser": "browser", "container": "engine", "data": "ultrasound_data"}
"""The fixture that finds what a test needs, by the name that FMC_UIA_REQUIRE gives to it."""
SLOW_SECONDS = 3600
Report = pytest.TestReport | pytest.CollectReport


def required() -> set[str]:
    """Names in FMC_UIA_REQUIRE, such as `ray,data`: a test that needs one of them may not skip."""
    return set(filter(None, os.environ.get("FMC_UIA_REQUIRE", "").split(",")))


def pytest_configure() -> None:
    if unknown := required() - set(NEEDED):
        raise pytest.UsageError(f"FMC_UIA_REQUIRE: {', '.join(unknown)} is none of {', '.join(NEEDED)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests and those of the image more time than pyproject.toml does."""
    for item in items:
        if {"slow", "container"} & {marker.name for marker in item.iter_markers()}:
            item.add_marker(pytest.mark.timeout(SLOW_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Report, Report]:
    report = yield
    fixtures = set(getattr(item, "fixturenames", ()))
    return _not_skipped(report, [name for name in sorted(required()) if NEEDED[name] in fixtures])


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, Report, Report]:
    report = yield
    return _not_skipped(report, sorted(required()))  # a whole file; which of them it needs cannot be known


def _not_skipped(report: Report, names: list[str]) -> Report:
    """Return the report, as a failure if it is a skip and `names` says what it should not have gone without."""
    if report.skipped and names:
        report.outcome = "failed"
        report.longrepr = f"skipped, though FMC_UIA_REQUIRE names {', '.join(names)}: {report.longrepr}"
    return report


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
    """A folder that every user can reach, unlike pytest's own."""
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
