"""`python test/fuzz TARGET --minutes 10`: coverage-guided fuzzing, from the corpus beside this file.

Needs atheris (requirements-dev.txt; Linux). What breaks a promise is left in `--findings`; mend it, then add the file
to `corpus/TARGET/`, which the tests replay. `mutations.py` beside this file needs no atheris, and tries all formats.
"""

import sys
import tempfile
from pathlib import Path

import atheris
import click

here = Path(__file__).resolve().parent
if not __package__:
    # Run as a folder, Python puts that folder on its path, but neither `fuzz` nor `challenge`.
    sys.path[:0] = [str(here.parent), str(here.parent.parent)]

with atheris.instrument_imports(include=["challenge", "csv", "unicodedata"]):
    from phantoms.bad_inputs import BAD_INPUTS

    from fuzz.mutate import PNG_MARK, with_check_sums
    from fuzz.targets import TARGETS

_LONGEST = {"manifest": 4096, "uusic_list": 4096, "paths": 512, "images": 16384}


@click.command()
@click.argument("target", type=click.Choice(sorted(TARGETS)))
@click.option("--minutes", default=10.0, show_default=True, help="How long.")
@click.option("--seed", default=0, show_default=True, help="0 takes another one each time.")
@click.option("--findings", default=Path("findings"), type=click.Path(file_okay=False, path_type=Path),
              show_default=True, help="Where inputs that break a promise are left.")  # fmt: skip
def main(target: str, minutes: float, seed: int, findings: Path) -> None:
    """Feed TARGET with mutated inputs; stop at the first broken promise."""
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as grown:
        if target == "images":
            for bad in BAD_INPUTS:
                Path(grown, f"{bad.name}.seed").write_bytes(bad.data())
        arguments = [sys.argv[0], f"-max_total_time={round(60 * minutes)}", f"-max_len={_LONGEST[target]}",
                     "-timeout=20", "-rss_limit_mb=2048", "-print_final_stats=1", f"-seed={seed}",
                     f"-artifact_prefix={findings}/", f"-dict={here}/corpus/words.dict"]  # fmt: skip
        atheris.Setup([*arguments, grown, str(here / "corpus" / target)], TARGETS[target], custom_mutator=_mutated)
        atheris.Fuzz()


def _mutated(data: bytes, most: int, seed: int) -> bytes:
    """Mutate, then mend a PNG's check sums in half of the cases: decoders look no further if they are wrong."""
    data = atheris.Mutate(data, most)
    return with_check_sums(data) if seed % 2 and data.startswith(PNG_MARK) else data


if __name__ == "__main__":
    main()
