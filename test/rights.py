"""Scripts that give up rights, each in its own process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from challenge.host.privileges import capabilities

SETGID, SETUID, SETPCAP = 6, 7, 8
STRANGER = 12345

as_root = pytest.mark.skipif(
    os.geteuid() != 0 or not capabilities().issuperset({SETGID, SETUID, SETPCAP}),
    reason="only root can step down",
)

# The interpreter of a developer may lie where no other user can read; what the scripts need is imported before.
_BEGIN = """
import json, os, sys, threading
from pathlib import Path
from challenge.host import needs
from challenge.errors import UserError
from challenge.host.places import Places
from challenge.host.privileges import Account, DAC_OVERRIDE, become, capabilities, confine
from challenge.host.stepdown import owner_of, step_down, tried
needs.CODE = ()

def status(task="self"):
    lines = Path(f"/proc/self/task/{task}/status" if task != "self" else "/proc/self/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in lines)
    numbers = {name: [int(word) for word in found[name].split()] for name in ("Uid", "Gid", "Groups", "NoNewPrivs")}
    return numbers | {name: int(found[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}

def tell(**what):
    print(json.dumps(what))
"""


def run_script(repository: Path, code: str, *arguments: object, prefix: tuple[str, ...] = ()) -> dict:
    """Run code after the imports above; return what it told last."""
    done = subprocess.run([*prefix, sys.executable, "-c", _BEGIN + code, *map(str, arguments)], cwd=repository,
                          env={**os.environ, "PYTHONPATH": "."}, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
