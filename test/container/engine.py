"""A container engine that works here, its options, and a base image if no registry can be reached."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

BASE_PACKAGES = "python3,python3-venv,ca-certificates"
# runc works where crun refuses the kernel's cgroups; limits above a nested container's own cannot be set.
# All of podman's state lies in `scratch`: resetting it must not touch what else podman runs here. `static_dir` is where
# podman looks without these settings: it clears up after a container without them, and is waited for.
PODMAN_CONF = """[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
static_dir = "{scratch}/storage/libpod"
tmp_dir = "{scratch}/tmp"
volume_path = "{scratch}/volumes"
{runtime}
"""
STORAGE_CONF = """[storage]
driver = "overlay"
graphroot = "{scratch}/storage"
runroot = "{scratch}/run"
"""


@dataclass(frozen=True)
class Engine:
    """Runs docker/do_*.sh and the engine's own commands with what this machine needs."""

    command: str
    environment: Mapping[str, str]
    scratch: Path
    root: Path

    def run(self, *arguments: str | Path, check: bool = True, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command; without `check`, whatever it exits with."""
        environment = {**os.environ, **self.environment, "ENGINE": self.command, **variables}
        done = subprocess.run(  # no TTY: nothing but pipes
            [str(one) for one in arguments],
            env=environment, cwd=self.root, text=True, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{arguments[0]} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def inspect(self, image: str) -> dict:
        """What the engine knows of an image."""
        return json.loads(self.run(self.command, "image", "inspect", image).stdout)[0]


def find_engine(scratch: Path, root: Path) -> Engine | None:
    """Docker where its daemon answers, else podman with its storage in `scratch`, else None."""
    for command, environment in (("docker", {}), ("podman", _podman_environment(scratch))):
        if shutil.which(command):
            engine = Engine(command, environment, scratch, root)
            if engine.run(command, "info", check=False).returncode == 0:
                return engine
    return None


def _podman_environment(scratch: Path) -> dict[str, str]:
    runtime = 'runtime = "runc"' if shutil.which("runc") else ""
    (scratch / "containers.conf").write_text(PODMAN_CONF.format(scratch=scratch, runtime=runtime))
    (scratch / "storage.conf").write_text(STORAGE_CONF.format(scratch=scratch))
    return {
        "CONTAINERS_CONF": str(scratch / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(scratch / "storage.conf"),
    }


def make_base(engine: Engine) -> str | None:
    """Import a Debian 12 with Python 3.11 as a base image; None where that takes more than this machine has."""
    if os.geteuid() or not shutil.which("mmdebstrap"):
        return None
    tar = engine.scratch / "base.tar"
    engine.run("mmdebstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", tar, TMPDIR=str(tar.parent))
    engine.run(engine.command, "import", tar, "localhost/base:bookworm")
    tar.unlink()
    return "localhost/base:bookworm"


def build_options(engine: Engine) -> list[str]:
    """What podman's build needs beyond docker's: no nested namespaces, and this machine's way to the package index."""
    if engine.command != "podman":
        return []
    volumes = [f"--volume={source}:{target}:ro" for source, target in _pip_files(engine.scratch).items()]
    return ["--isolation=chroot", "--layers", *volumes]


def _pip_files(scratch: Path) -> dict[Path, Path]:
    """pip's settings here, from files and variables, as one file, and the files and folders that they name."""
    listed = subprocess.run(["python3", "-m", "pip", "config", "list"], text=True, capture_output=True, check=True)
    settings = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        settings[name.removeprefix("global.").removeprefix(":env:.")] = value.strip("'").replace("\\n", " ")
    if not settings:
        return {}
    configuration = scratch / "pip.conf"
    configuration.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    files = {configuration: Path("/etc/pip.conf")}
    for word in " ".join(settings.values()).split():
        # A local index links to files beside it.
        path = Path(word.removeprefix("file://")).parent if word.startswith("file://") else Path(word)
        if path.is_absolute() and path.exists():
            files[path] = path
    return files
