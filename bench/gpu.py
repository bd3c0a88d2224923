"""Measures inference on a GPU beside the same weights on the CPU: speed, memory, answers, scores."""

import csv
import json
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click

from bench.agreement import compare
from bench.contenders import Contender, Summary, Turn, ours, summarise, take_turns
from bench.end_to_end import agreement_table, speed_table
from bench.measuring.gpu_memory import GpuMemory, gpu_line
from bench.measuring.machine import machine, machine_line
from bench.rows import ROOT, Phantoms, answered_by, mix, write_rows
from challenge.cli import FILE, FOLDER
from challenge.errors import UserError
from challenge.manifest import Sample, read_manifest
from challenge.paths import MANIFEST_FOLDER
from evaluate.scores.metric_table import Column, headline
from evaluate.scores.result import summarise as score
from evaluate.scores.scoring import measure
from model.frozen.options import Options
from model.frozen.runtimes.choose import why_no_cuda

REFERENCE = "CPU, float32"
PRECISIONS = ("float32", "tf32", "float16")
RULE = 0.2
"""The most that a precision may change a score: points of DSC, AUC and IoU (times 100), pixels of MRE."""

Scores = Mapping[str, tuple[str, float]]
"""The headline of every task: its name, and its value in points or pixels."""


def contenders(weights: Path, batch_sizes: Sequence[int], tensorrt: Path | None) -> list[Contender]:
    """Return the CPU in float32, then every precision of the GPU in every batch size."""
    found = [ours(REFERENCE, weights, Options.batch_size, "--device", "cpu", "--precision", "float32")]
    ways: dict[str, tuple[str, ...]] = {precision: ("--precision", precision) for precision in PRECISIONS}
    if tensorrt:
        ways["float16 by TensorRT"] = ("--precision", "float16", "--tensorrt", str(tensorrt.resolve()))
    for name, options in ways.items():
        found += [
            ours(f"GPU, {name}, batches of {size}", weights, size, "--device", "cuda", *options, optional=True)
            for size in batch_sizes
        ]
    return found


def write_part(source: Path, folder: Path, per_task: int) -> None:
    """Write a data folder with `per_task` rows of every task of `source`, evenly spaced; 0 takes all.

    Images and masks are links to `source`.
    """
    rows: dict[str, list[Sample]] = defaultdict(list)
    for sample in read_manifest(source, truth=True).samples:
        rows[sample.task_id].append(sample)
    (folder / MANIFEST_FOLDER).mkdir(parents=True)
    for task_id, samples in rows.items():
        count = min(per_task or len(samples), len(samples))
        cells = [dict(samples[number * len(samples) // count].cells) for number in range(count)]
        columns = list(dict.fromkeys(column for row in cells for column in row))
        with (folder / MANIFEST_FOLDER / f"{task_id}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, restval="")
            writer.writeheader()
            writer.writerows(cells)
    for entry in source.resolve().iterdir():
        if entry.name != MANIFEST_FOLDER:
            (folder / entry.name).symlink_to(entry)


def scores_of(data: Path, answers: Path) -> Scores:
    """Return the headline of every task in points (times 100) or pixels."""
    result = score(measure(data, answers), "data", "answers", draws=1)
    found = {}
    for task_id, task in result.tasks.items():
        metric = headline(task.spec.kind)
        value = task.metrics[metric.name][Column.OFFICIAL].value
        if value is not None:
            found[task_id] = (metric.name, value if metric.unit else 100 * value)
    return found


def rule_table(scores: Mapping[str, Scores]) -> str:
    """Return the Markdown table of the reference's scores and the others' changes, and whether the rule holds."""
    reference, *others = scores
    lines = [f"| task | score | {reference} | {' | '.join(others)} |", "|---" * (len(scores) + 2) + "|"]
    for task_id, (name, value) in scores[reference].items():
        changes = [f"{scores[other][task_id][1] - value:+.2f}" for other in others]
        lines.append(f"| `{task_id}` | {name} | {value:.2f} | {' | '.join(changes)} |")
    held = ["yes" if holds(scores[reference], scores[other]) else "no" for other in others]
    lines.append(f"| changes of at most {RULE} | | | {' | '.join(held)} |")
    return "\n".join(lines)


def holds(reference: Scores, other: Scores) -> bool:
    """Return whether no score changes by more than the rule allows."""
    return all(abs(other[task_id][1] - value) <= RULE for task_id, (_, value) in reference.items())


def memory_table(memory: Mapping[str, float | None]) -> str:
    """Return the Markdown table of the GPU's memory."""
    lines = [f"| {name} | {'unknown' if mib is None else f'{mib:.0f} MiB'} |" for name, mib in memory.items()]
    return "\n".join(["| | memory of the GPU, all programs |", "|---|---|", *lines])


def run_turns(
    rivals: Sequence[Contender], data: Path, work: Path, rounds: int, refused: dict[str, str]
) -> tuple[list[Turn], dict[str, float | None]]:
    """Run all contenders; return the turns and the most memory of the GPU by contender."""
    turns, most = [], dict[str, float | None]()
    with GpuMemory() as memory:
        for turn in take_turns(rivals, data, work, rounds, refused):
            turns.append(turn)
            used, before = memory.take(), most.get(turn.contender)
            most[turn.contender] = used if used is None or before is None else max(used, before)
    return turns, most


@click.command()
@click.option("--weights", default=ROOT / "weights", type=FOLDER, help="Exported weights.")
@click.option("--data-root", required=True, type=FOLDER, help="Data folder with true answers, for the scores.")
@click.option("--per-task", default=0, show_default=True, type=click.IntRange(0), help="Rows of each task; 0: all.")
@click.option("--rows", default=2000, show_default=True, type=click.IntRange(1), help="Generated rows, for the speed.")
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--batch-size", "batch_sizes", multiple=True, default=(4, 32), show_default=True, type=click.IntRange(1))
@click.option("--tensorrt", type=FOLDER, help="Also measure TensorRT, whose engines stay in this folder.")
@click.option("--json", "json_file", type=FILE, help="Write the numbers of every run to this file.")
def gpu(
    weights: Path,
    data_root: Path,
    per_task: int,
    rows: int,
    rounds: int,
    batch_sizes: tuple[int, ...],
    tensorrt: Path | None,
    json_file: Path | None,
) -> None:
    """Measure every precision of a GPU on generated rows, and its scores on a data folder, beside the CPU's."""
    if reason := why_no_cuda():
        raise UserError(f"nothing was measured, because {reason}; repeat the command on a machine with an NVIDIA GPU")
    weights, where = weights.resolve(), machine()
    rivals, refused = contenders(weights, batch_sizes, tensorrt), dict[str, str]()
    with tempfile.TemporaryDirectory() as name:
        generated, part, work = (Path(name) / place for place in ("generated", "part", "work"))
        tasks, phantoms = answered_by(weights), Phantoms.draw()
        write_rows(generated, mix(rows, tasks, phantoms), tasks, phantoms)
        samples = read_manifest(generated, tasks).samples
        turns, memory = run_turns(rivals, generated, work / "speed", rounds, refused)
        ran = [rival for rival in rivals if rival.name not in refused]
        agreements = {
            rival.name: compare(samples, work / "speed/0", work / "speed" / str(rivals.index(rival)))
            for rival in ran[1:]
        }
        write_part(data_root, part, per_task)
        list(take_turns(ran, part, work / "scores", 1, {}))
        scores = {rival.name: scores_of(part, work / "scores" / str(number)) for number, rival in enumerate(ran)}
    summaries: Mapping[str, Summary] = summarise(turns, REFERENCE)
    images = len({sample.image_path for sample in samples})
    click.echo(f"{len(samples)} rows of {images} images, {rounds} rounds; GPU {gpu_line()}; {machine_line(where)}\n")
    click.echo(speed_table(summaries, refused, len(samples), images, REFERENCE))
    click.echo(f"\n{memory_table(memory)}\n\n{agreement_table(agreements, REFERENCE)}\n\n{rule_table(scores)}")
    if json_file:
        content = {
            "machine": where,
            "gpu": gpu_line(),
            "turns": [asdict(turn) for turn in turns],
            "gpu_memory_mib": memory,
            "agreement": {rival: asdict(found) for rival, found in agreements.items()},
            "scores": scores,
            "refused": refused,
        }
        json_file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
