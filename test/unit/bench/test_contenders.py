"""Programs in turns: what they cost, who refuses, ratios within a round."""

import sys

import pytest

from bench.contenders import Contender, Turn, summarise, take_turns
from bench.measuring.stopwatch import FailedError, Usage, run

WORK = "import pathlib, sys, time\nwhile time.process_time() < 0.3: pass\npathlib.Path(sys.argv[2]).mkdir()"


def program(name, text, *, optional=False):
    def command(data, output, report):
        return (sys.executable, "-c", text, data, output, report)

    return Contender(name, command, optional)


def test_processor_time_and_memory_are_the_programs_own():
    idle = run((sys.executable, "-S", "-c", ""))
    busy = run((sys.executable, "-c", "import time\nx = b'1' * 200_000_000\nwhile time.process_time() < 0.3: pass"))
    assert idle.memory_mib < 60  # this very process, which starts it, holds far more
    assert busy.memory_mib > idle.memory_mib + 150
    assert busy.cpu_seconds >= 0.3
    assert busy.seconds > 0


def test_a_failure_says_how_it_ended():
    with pytest.raises(FailedError, match=r"ended with 7: the last word$") as caught:
        run((sys.executable, "-c", "import sys; print('a\\nthe last word', file=sys.stderr); sys.exit(7)"))
    assert caught.value.code == 7


def test_turns_alternate_and_a_refusal_is_asked_once(tmp_path):
    refusing = program("x", "raise SystemExit(2)", optional=True)
    refused = {}
    turns = list(take_turns((program("a", WORK), refusing, program("b", WORK)), tmp_path, tmp_path, 2, refused))
    assert [(turn.contender, turn.round) for turn in turns] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert list(refused) == ["x"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "2"]  # the first round's answers


@pytest.mark.parametrize(("code", "optional"), [(2, False), (1, True)])
def test_other_failures_end_the_measurement(code, optional, tmp_path):
    contender = program("a", f"raise SystemExit({code})", optional=optional)
    with pytest.raises(FailedError):
        list(take_turns((contender,), tmp_path, tmp_path, 1, {}))


def test_ratios_are_taken_within_each_round():
    seconds = {"a": (10.0, 20.0, 40.0), "b": (5.0, 10.0, 8.0)}
    turns = [
        Turn(name, number, Usage(value, 2 * value, 100 + number), None if name == "a" else 0.5)
        for name, values in seconds.items()
        for number, value in enumerate(values)
    ]
    found = summarise(turns, "a")
    assert found["a"].speedup == found["a"].cpu_ratio == 1
    assert list(found["b"].speedups) == [2, 2, 5]
    assert found["b"].speedup == found["b"].cpu_ratio == 2  # the medians' own ratio would be 20 / 8
    assert found["b"].usage == Usage(8, 16, 101)
    assert (found["a"].first_answer, found["b"].first_answer) == (None, 0.5)
