"""`python test/mutants [NAME...]`: plant each fault of table.toml in a copy of the repository; its tests must fail.

A fault that survives is a hole in the tests. Faults are found by their text, so the table must follow the code: a text
that is not there exactly once is an error. The repository itself is never touched.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "__pycache__", ".*_cache", "out", "node_modules", "shared")
_FAILED = re.compile(r"^FAILED (\S+?)(?:\[.*\])?(?: - .*)?$", re.MULTILINE)
_ASSERTION = re.compile(r"^(test/\S+\.py:\d+): in .*\n(?:(?!E  ).*\n)*?E  +(.*)", re.MULTILINE)


@dataclass(frozen=True)
class Mutant:
    """One fault: `old` text in `file` becomes `new`; every one of `tests` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: Sequence[str]

    def plant(self, folder: Path) -> str:
        """Write the fault into the copy; return what stood there. Raises ClickException if it does not fit."""
        path = folder / self.file
        text = path.read_text("utf-8") if path.is_file() else ""
        if text.count(self.old) != 1:
            raise click.ClickException(
                f"{self.name}: {self.file} holds the text {self.old!r} {text.count(self.old)} times, not once; "
                "correct test/mutants/table.toml"
            )
        path.write_text(text.replace(self.old, self.new), "utf-8")
        return text


@dataclass(frozen=True)
class Run:
    """How a run of some tests ended."""

    code: int
    output: str

    @property
    def failed(self) -> set[str]:
        """The tests that failed, without their parameters."""
        return set(_FAILED.findall(self.output))

    @property
    def assertion(self) -> str:
        """The first line of a test that failed, and what it says."""
        found = _ASSERTION.search(self.output)
        return f"{found[1]}: {found[2]}" if found else f"no line of a test; pytest ended with {self.code}"


def run(folder: Path, tests: Sequence[str]) -> Run:
    """Run some tests in the copy."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "-rf", "-o",
               "timeout=120", *tests]  # fmt: skip
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "400"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Run(done.returncode, done.stdout + done.stderr)


def read_table() -> list[Mutant]:
    """Return the faults of table.toml."""
    table = tomllib.loads((HERE / "table.toml").read_text("utf-8"))
    return [Mutant(name, **entry) for name, entry in table.items()]


@click.command()
@click.argument("names", nargs=-1)
def main(names: Sequence[str]) -> None:
    """Plant the faults called NAMES, or all."""
    mutants = [mutant for mutant in read_table() if not names or mutant.name in names]
    if unknown := set(names) - {mutant.name for mutant in mutants}:
        raise click.ClickException(f"table.toml has no {', '.join(sorted(unknown))}")
    survived = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "copy"
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
        for mutant in mutants:
            (folder / mutant.file).write_text(mutant.plant(folder), "utf-8")
        clean = run(folder, sorted({test for mutant in mutants for test in mutant.tests}))
        if clean.code:
            raise click.ClickException(f"tests fail before any fault is planted:\n{clean.output[-4000:]}")
        for number, mutant in enumerate(mutants, 1):
            whole = mutant.plant(folder)
            ended = run(folder, mutant.tests)
            (folder / mutant.file).write_text(whole, "utf-8")
            missed = sorted(set(mutant.tests) - ended.failed)
            survived += missed[:1]
            told = f"SURVIVED: {', '.join(missed)} did not fail" if missed else f"killed at {ended.assertion}"
            click.echo(f"{number:3} {mutant.name} ({mutant.file}): {told}")
    click.echo(f"{len(mutants) - len(survived)} of {len(mutants)} killed")
    raise SystemExit(bool(survived))


if __name__ == "__main__":
    main()
