"""The programs that are compared, and how: in turns, each in its own process."""

import json
import logging
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.measuring.stopwatch import FailedError, Usage, run
from bench.rows import ROOT
from challenge.host.exits import Exit

logger = logging.getLogger(__name__)

Command = Sequence[str | Path | int]


@dataclass(frozen=True)
class Contender:
    """A program: `command` takes the data folder, the output folder and a file for its run report.

    An `optional` one may refuse (exit code 2) if this machine or program does not offer what it asks for.
    """

    name: str
    command: Callable[[Path, Path, Path], Command]
    optional: bool = False


@dataclass(frozen=True)
class Turn:
    """One run. `first_answer` is in seconds from the program's start, None if the program does not report it."""

    contender: str
    round: int
    usage: Usage
    first_answer: float | None = None


def baseline_pipeline(weights: Path, batch_size: int, workers: int) -> Contender:
    """The organisers' pipeline with the network of `weights`."""
    head: Command = (sys.executable, "-m", "bench.baseline", "--weights", weights, "--batch-size", batch_size)

    def command(data: Path, output: Path, report: Path) -> Command:
        del report
        return (*head, "--workers", workers, "--input", data, "--output", output)

    return Contender("A: the baseline pipeline", command)


def ours(name: str, weights: Path, batch_size: int, *more: str, optional: bool = False) -> Contender:
    """`inference.py` with further options."""
    head: Command = (sys.executable, ROOT / "inference.py", "--weights", weights, "--batch-size", batch_size, *more)

    def command(data: Path, output: Path, report: Path) -> Command:
        return (*head, "--profile", "fmc", "--input", data, "--output", output, "--report", report)

    return Contender(name, command, optional)


def take_turns(
    contenders: Sequence[Contender], data: Path, work: Path, rounds: int, refused: dict[str, str]
) -> Iterator[Turn]:
    """Run all contenders `rounds` times and yield every run.

    The answers of the first round stay in `work/<number of the contender>`. If an optional contender refuses, its
    message goes into `refused`, and it is not run again. Raises FailedError if another one fails.
    """
    for number in range(rounds):
        for index, contender in enumerate(contenders):
            if contender.name in refused:
                continue
            output, report = work / (str(index) if number == 0 else "again"), work / "run.json"
            report.unlink(missing_ok=True)
            try:
                usage = run(contender.command(data, output, report), ROOT)
            except FailedError as error:
                if not (contender.optional and error.code == Exit.USER):
                    raise
                refused[contender.name] = error.last_line
                logger.info("%s: not offered: %s", contender.name, error.last_line)
                continue
            logger.info("round %d, %s: %.1f s", number + 1, contender.name, usage.seconds)
            yield Turn(contender.name, number, usage, since_start(usage, report, "first_prediction_s"))
            if number:
                shutil.rmtree(output)


def since_start(usage: Usage, report: Path, mark: str) -> float | None:
    """Return the seconds from the program's start to a `mark` of its run report; None without a report.

    The report's clock begins after the imports, and ends with the program.
    """
    if not report.exists():
        return None
    timings = json.loads(report.read_text())["timings"]
    return float(usage.seconds - timings["total_s"] + timings[mark])


@dataclass(frozen=True)
class Summary:
    """Medians over the rounds. `speedups` are the reference's seconds divided by this one's, each within one round."""

    usage: Usage
    first_answer: float | None
    speedups: Sequence[float]
    cpu_ratio: float
    """The reference's processor seconds divided by this one's: the median of the rounds' ratios."""

    @property
    def speedup(self) -> float:
        """The median of the rounds' ratios."""
        return statistics.median(self.speedups)


def summarise(turns: Sequence[Turn], reference: str) -> Mapping[str, Summary]:
    """Return the medians by contender. Ratios to the contender `reference` are taken within each round."""
    by_name: dict[str, list[Turn]] = {}
    for turn in turns:
        by_name.setdefault(turn.contender, []).append(turn)
    first = {turn.round: turn.usage for turn in by_name[reference]}
    return {name: _summary(own, first) for name, own in by_name.items()}


def _summary(turns: Sequence[Turn], reference: Mapping[int, Usage]) -> Summary:
    usages = [turn.usage for turn in turns]
    firsts = [turn.first_answer for turn in turns if turn.first_answer is not None]
    return Summary(
        Usage(
            statistics.median(usage.seconds for usage in usages),
            statistics.median(usage.cpu_seconds for usage in usages),
            statistics.median(usage.memory_mib for usage in usages),
        ),
        statistics.median(firsts) if firsts else None,
        [reference[turn.round].seconds / turn.usage.seconds for turn in turns],
        statistics.median(reference[turn.round].cpu_seconds / turn.usage.cpu_seconds for turn in turns),
    )
