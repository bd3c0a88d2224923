"""The whole run, csv to answers, against the organisers' pipeline with the same weights."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from bench.agreement import MASK_SHARE, PIXELS, PROBABILITY, Agreement, compare
from bench.contenders import Summary, Turn, baseline_pipeline, ours, summarise, take_turns
from bench.measuring.machine import machine, machine_line
from bench.rows import ROOT, Phantoms, answered_by, mix, write_rows
from challenge.cli import FILE, FOLDER
from challenge.manifest import Manifest, read_manifest
from model.frozen.options import Options

SAME, REDUCED, DEFAULT = "B: ours, same weights, float32", "B: ours, same weights, bfloat16", "C: ours, default weights"


def speed_table(
    summaries: Mapping[str, Summary], refused: Mapping[str, str], rows: int, images: int, reference: str = "A"
) -> str:
    """Return the Markdown table, with refused contenders at the end."""
    columns = (
        "",
        "seconds",
        "rows/s",
        "images/s",
        f"times {reference} (lowest to highest)",
        "CPU s",
        f"times {reference} in CPU s",
        "peak memory",
        "first answer",
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, found in summaries.items():
        seconds, low, high = found.usage.seconds, min(found.speedups), max(found.speedups)
        first = "" if found.first_answer is None else f"{found.first_answer:.1f} s"
        lines.append(
            f"| {name} | {seconds:.1f} | {rows / seconds:.1f} | {images / seconds:.1f} | **{found.speedup:.2f}** "
            f"({low:.2f} to {high:.2f}) | {found.usage.cpu_seconds:.0f} | {found.cpu_ratio:.2f} | "
            f"{found.usage.memory_mib:.0f} MiB | {first} |"
        )
    lines += [f"| {name} | not offered: {reason} | | | | | | | |" for name, reason in refused.items()]
    return "\n".join(lines)


def agreement_table(agreements: Mapping[str, Agreement], reference: str = "A") -> str:
    """Return the Markdown table of differences from the reference's answers."""
    limits = f"within {PROBABILITY:g}, {PIXELS} px, {MASK_SHARE:.1%}"
    columns = (f"against {reference}", "probability", "box", "point", "equal mask pixels", limits)
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    lines += [
        f"| {name} | {found.probability:.1e} | {found.box:.4f} px | {found.point:.4f} px | {found.mask_share:.4%} | "
        f"{'yes' if found.holds else 'no'} |"
        for name, found in agreements.items()
    ]
    return "\n".join(lines)


def record(
    turns: Sequence[Turn],
    summaries: Mapping[str, Summary],
    agreements: Mapping[str, Agreement],
    refused: Mapping[str, str],
    manifest: Manifest,
) -> dict[str, Any]:
    """Return all measurements as plain data."""
    return {
        "rows": len(manifest.samples),
        "images": _images(manifest),
        "turns": [asdict(turn) for turn in turns],
        "medians": {name: asdict(found) | {"speedup": found.speedup} for name, found in summaries.items()},
        "agreement": {name: asdict(found) | {"holds": found.holds} for name, found in agreements.items()},
        "refused": dict(refused),
    }


def _images(manifest: Manifest) -> int:
    return len({sample.image_path for sample in manifest.samples})


@click.command("end-to-end")
@click.option("--same-weights", required=True, type=FOLDER, help="Exported mh_mtl weights of A and B.")
@click.option("--weights", default=ROOT / "weights", type=FOLDER, help="Weights of C. [default: weights/]")
@click.option("--rows", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=3, show_default=True, type=click.IntRange(1))
@click.option("--batch-size", default=8, show_default=True, help="Rows per batch of A; B and C use their default.")
@click.option("--workers", default=0, show_default=True, help="Processes of A's DataLoader.")
@click.option("--mixed", is_flag=True, help="Shuffle the manifests; otherwise the rows of a task are together.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "json_file", type=FILE, help="Write the numbers of every run to this file.")
def end_to_end(
    same_weights: Path,
    weights: Path,
    rows: int,
    rounds: int,
    batch_size: int,
    workers: int,
    mixed: bool,
    seed: int,
    json_file: Path | None,
) -> None:
    """Measure the organisers' pipeline (A) and ours (B, C) in turns.

    Fails if the same weights do not give the same answers.
    """
    same_weights, weights = same_weights.resolve(), weights.resolve()
    tasks, where = answered_by(same_weights, weights), machine()
    labels = ("--mask-resize", "labels")  # as A does it
    contenders = (
        baseline_pipeline(same_weights, batch_size, workers),
        ours(SAME, same_weights, Options.batch_size, *labels, "--precision", "float32"),
        ours(REDUCED, same_weights, Options.batch_size, *labels, "--precision", "bfloat16", optional=True),
        ours(DEFAULT, weights, Options.batch_size),
    )
    with tempfile.TemporaryDirectory() as name:
        data, work = Path(name) / "data", Path(name)
        phantoms = Phantoms.draw()
        write_rows(data, mix(rows, tasks, phantoms), tasks, phantoms, seed, mixed=mixed)
        manifest, refused = read_manifest(data, tasks), dict[str, str]()
        turns = list(take_turns(contenders, data, work, rounds, refused))
        agreements = {
            contender.name: compare(manifest.samples, work / "0", work / str(index))
            for index, contender in enumerate(contenders)
            if contender.name in (SAME, REDUCED) and contender.name not in refused
        }
    summaries = summarise(turns, contenders[0].name)
    click.echo(f"{len(manifest.samples)} rows of {_images(manifest)} images, {rounds} rounds; {machine_line(where)}\n")
    click.echo(speed_table(summaries, refused, len(manifest.samples), _images(manifest)))
    click.echo("\n" + agreement_table(agreements))
    if json_file:
        content = {"machine": where} | record(turns, summaries, agreements, refused, manifest)
        json_file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
    if not agreements[SAME].holds:
        raise click.ClickException("the same weights in float32 do not give the baseline pipeline's answers")
