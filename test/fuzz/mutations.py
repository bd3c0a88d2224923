"""`python test/fuzz/mutations.py --minutes 30`: gives damaged image files to the decoder's child and watches it.

It needs only the project. A child that dies or hangs, or an answer that breaks a promise of `decode.py`, is a finding:
its file stays in the folder. The folder also keeps the counts, so the same command continues.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import click

if not __package__:
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here.parent), str(here.parent.parent)]

from challenge.imaging.child import Child, EndedError
from fuzz.mutate import FORMATS, mutated

_SLICE = 50
_PIXELS, _MEMORY, _SECONDS = 1_000_000, 2 << 30, 20


@dataclass
class Progress:
    """The numbers tried so far, by a format's ending, and the findings."""

    seed: int
    inputs: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FORMATS, 0))
    findings: list[dict[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, file: Path, seed: int) -> "Progress":
        """Return what an earlier call left in `file`, or a new beginning."""
        return cls(**json.loads(file.read_text())) if file.exists() else cls(seed)


class Watch:
    """Gives files to a child, and starts another child if it dies."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._given = 0

    def finding(self, path: Path) -> str | None:
        """Return what is wrong with how a file is answered, None if nothing is."""
        reason = self._finding(path)
        if reason and self._child is None and self._given > 1:
            self._given = 0
            # Damage that an earlier file did to the child's memory is a finding too, though not this file's.
            again = self._finding(path)
            return again or f"{reason}, but only after other files"
        return reason

    def close(self) -> None:
        """End the child."""
        if self._child:
            self._child.end()

    def _finding(self, path: Path) -> str | None:
        self._child = self._child or Child(_MEMORY)
        self._given += 1
        request = {"path": str(path), "pixel_limit": _PIXELS, "seconds": _SECONDS}
        try:
            size = self._child.ask({**request, "what": "size"})[0]["size"]
            table, body = self._child.ask({**request, "what": "pixels"}, 3 * _PIXELS)
        except EndedError as error:
            self._child = None
            return str(error)
        return broken_promise(path.name, size, table, len(body))


def broken_promise(name: str, size: list[int] | None, table: dict[str, Any], count: int) -> str | None:
    """Return which promise an answer breaks: one sentence of error, or pixels of the header's size."""
    if "error" in table:
        text = table["error"]
        fine = text.startswith(name) and len(text) < 2000 and len(text.splitlines()) == 1
        return None if fine else f"no sentence: {text!r}"
    height, width, channels = table["shape"]
    if min(height, width) < 1 or channels not in (1, 3) or height * width * channels != count:
        return f"pixels of shape {table['shape']}"
    return None if size in (None, [width, height]) else f"decoded as {width}x{height}, but the header says {size}"


def fuzz(folder: Path, endings: Iterable[str], progress: Progress, stop: Callable[[], bool]) -> None:
    """Try further numbers of each format in turn until `stop`; keep findings and counts in `folder`."""
    memory = Path("/dev/shm")
    watch = Watch()
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as room:
        for ending in cycle(endings):
            if stop():
                break
            for _ in range(_SLICE):
                number = progress.inputs[ending]
                path = Path(room, f"image{ending}")
                path.write_bytes(mutated(ending, progress.seed, number))
                progress.inputs[ending] += 1
                if reason := watch.finding(path):
                    kept = folder / f"{progress.seed}-{number}{ending}"
                    kept.write_bytes(path.read_bytes())
                    progress.findings.append({"file": kept.name, "reason": reason})
                    print(f"{kept.name}: {reason}", flush=True)
            (folder / "progress.json").write_text(json.dumps(asdict(progress), indent=1))
    watch.close()


@click.command()
@click.option("--minutes", default=10.0, show_default=True, help="How long.")
@click.option("--seed", default=0, show_default=True, help="Another one damages the files in another way.")
@click.option("--formats", default=",".join(FORMATS), show_default=True, help="Endings.")
@click.option("--findings", "folder", default=Path("findings"), type=click.Path(file_okay=False, path_type=Path),
              show_default=True, help="Where findings and counts are kept; the same folder goes on.")  # fmt: skip
def main(minutes: float, seed: int, formats: str, folder: Path) -> None:
    """Damage image files and watch what decodes them; exit with 1 if something was found."""
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress.of(folder / "progress.json", seed)
    end = time.monotonic() + 60 * minutes
    fuzz(folder, formats.split(","), progress, lambda: time.monotonic() > end)
    for ending, count in progress.inputs.items():
        found = sum(item["file"].endswith(f"{ending}") for item in progress.findings)
        print(f"{ending:8} {count:9,} inputs {found:4} findings")
    print(f"{'all':8} {sum(progress.inputs.values()):9,} inputs {len(progress.findings):4} findings")
    sys.exit(bool(progress.findings))


if __name__ == "__main__":
    main()
