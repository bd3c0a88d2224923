"""A decoder child that crashes or hangs as a file's name says, for tests.

Files with other names are decoded as usual. `write_evil_child` makes the script;
`challenge.imaging.child.CHILD` names it.
"""

import sys
from pathlib import Path

_SCRIPT = """
import os, signal, sys, time
sys.path[:] = {path!r}
from challenge.imaging import child_main as decoder_child
from challenge.imaging import decode as images

decode, answer = images.decode_file, decoder_child._answer

def evil(path):
    if path.stem.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, path.stem.split()[0]))
    if path.stem == "sleep":
        time.sleep(3600)
    if path.stem == "exit":
        os._exit(3)
    if path.stem == "bomb":
        bytearray(1 << 40)
    while path.stem == "endless":
        os.write(2, b"err")
    if path.stem == "loud":
        os.write(1, b"out" * 100_000)
        os.write(2, b"err" * 100_000)
    return decode(path)

def lying(request):
    huge, odd = {{"shape": [1, 1, 3], "bytes": 1 << 40}}, {{"shape": [7, 7, 7], "bytes": 0}}
    lies = {{"long": huge, "odd": odd, "empty": {{}}}}
    stem = request["path"].rpartition("/")[2].partition(".")[0]
    return (lies[stem], b"") if stem in lies and request["what"] == "pixels" else answer(request)

images.decode_file, decoder_child._answer = evil, lying
decoder_child.main()
"""


def write_evil_child(folder: Path) -> Path:
    """Write the script; return its path."""
    script = folder / "evil_child.py"
    script.write_text(_SCRIPT.format(path=[str(Path(__file__).resolve().parents[1]), *sys.path]))
    return script
