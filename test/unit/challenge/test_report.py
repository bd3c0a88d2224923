"""The run report's figures of this process."""

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process's peak is its own already")
def test_peak_memory_leaves_out_what_the_starting_process_held(repository):
    ours = bytearray(400 << 20)
    ours[::4096] = b"1" * len(ours[::4096])  # touched, so that it is resident
    script = "from challenge.report import peak_memory_mib; print(peak_memory_mib())"
    child = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=True)
    assert 5 < float(child.stdout) < 300
