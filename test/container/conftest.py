"""The image, built once from the repository's Dockerfile, and the same code run here with the image's lock."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from container.engine import Engine, build_options, find_engine, make_base

IMAGE = "localhost/fmc-uia:test"
NON_ROOT_IMAGE = "localhost/fmc-uia:test-non-root"
TMPFS_BYTES = 6 << 30
STRANGER = "12345:12345"
NON_ROOT = "10001:10001"

logger = logging.getLogger(__name__)


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.container)


def free_memory():
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    """A folder for base, image and layers; in memory where there is enough, since packages sync every file to disk."""
    folder = tmp_path_factory.mktemp("container")
    mounted = (
        os.geteuid() == 0
        and free_memory() > TMPFS_BYTES
        and subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "fmc-uia", folder]).returncode == 0
    )
    yield folder
    if mounted:
        subprocess.run(["umount", "--recursive", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def engine(scratch, repository):
    found = find_engine(scratch, repository)
    if found is None:
        pytest.skip("neither docker nor podman works here")
    yield found
    if found.command == "podman":
        found.run("podman", "system", "reset", "--force")
    else:
        found.run("docker", "image", "rm", "--force", IMAGE, NON_ROOT_IMAGE, check=False)


@pytest.fixture(scope="session")
def build_variables(engine: Engine):
    """The cpu variant; FMC_UIA_BASE names a base image, else podman gets a Debian made here."""
    base = os.environ.get("FMC_UIA_BASE") or (make_base(engine) if engine.command == "podman" else None)
    return {"VARIANT": "cpu", **({"BASE": base} if base else {})}


@pytest.fixture(scope="session")
def build_log(engine: Engine, build_variables):
    """Build IMAGE; what the script printed."""
    built = engine.run("docker/do_build.sh", *build_options(engine), **build_variables, IMAGE=IMAGE)
    base = build_variables.get("BASE", "the Dockerfile's base")
    logger.info("%s built on %s: %s", IMAGE, base, built.stdout.splitlines()[-1])
    return built.stdout


@pytest.fixture(scope="session")
def image(build_log):
    return IMAGE


@pytest.fixture(scope="session")
def phantoms(phantom_folder):
    """The phantom folder where another user can read it."""
    for folder in (phantom_folder, *phantom_folder.parents[:2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    return phantom_folder


@pytest.fixture
def output(tmp_path):
    """An empty folder that any user may write to."""
    folder = tmp_path / "output"
    folder.mkdir()
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="session")
def stranger_runs(engine: Engine, image):
    """Call docker/do_test_run.sh as a user whom the image does not know."""
    # Podman would make the user known.
    strange = "--passwd=false " if engine.command == "podman" else ""

    def run(data, output, *arguments, options="", check=True):
        return engine.run("docker/do_test_run.sh", data, output, *arguments, check=check, RUNS="strict",
                          IMAGE=image, RUN_USER=STRANGER, RUN_OPTIONS=strange + options)  # fmt: skip

    return run


@pytest.fixture(scope="session")
def runs_as_organisers(engine: Engine, image):
    """Call docker/do_test_run.sh as the organisers run images: no user, nothing that is restricted."""

    def run(data, output, *arguments, options="", check=True, image=image):
        return engine.run("docker/do_test_run.sh", data, output, *arguments, check=check, RUNS="organisers",
                          IMAGE=image, RUN_OPTIONS=options)  # fmt: skip

    return run


@pytest.fixture(scope="session")
def image_for_hosts_that_refuse_root(engine: Engine, build_log, build_variables):
    """The same build with RUN_AS; all but the last lines come from the cache."""
    engine.run("docker/do_build.sh", *build_options(engine), **build_variables,
               IMAGE=NON_ROOT_IMAGE, RUN_AS=NON_ROOT)  # fmt: skip
    return NON_ROOT_IMAGE


@pytest.fixture(scope="session")
def answered(stranger_runs, phantoms, tmp_path_factory):
    """The container's answers for the phantoms."""
    folder = tmp_path_factory.mktemp("answers")
    folder.chmod(0o777)
    run = stranger_runs(phantoms, folder)
    logger.info("%s", run.stderr.splitlines()[-1])
    return folder


@pytest.fixture(scope="session")
def local_python(scratch, repository):
    """An interpreter with exactly the packages of docker/cpu.lock, by hash."""
    environment = scratch / "local"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    lock = repository / "docker" / "cpu.lock"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "--requirement", lock]
    subprocess.run(install, check=True)
    yield python
    shutil.rmtree(environment)
