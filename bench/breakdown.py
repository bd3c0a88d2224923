"""Where the time of a run goes, and how busy the pipeline keeps the processors."""

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click

from bench.contenders import ours, since_start
from bench.measuring.machine import machine, machine_line
from bench.measuring.stopwatch import FailedError, run
from bench.rows import ROOT, Phantoms, answered_by, mix, write_rows
from bench.stages import STAGES, measure
from challenge.cli import FILE, FOLDER
from challenge.host.exits import Exit
from challenge.host.limits import available_cpus
from challenge.manifest import Manifest, read_manifest
from model.frozen.metadata import read_metadata
from model.frozen.options import Options

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Breakdown:
    """One way to run: processor milliseconds per image by stage, each measured alone, and seconds of the whole run.

    Of `seconds`, `start_up` pass before the first row is read. `cpu_seconds` are those of the whole run.
    """

    name: str
    images: int
    cores: int
    milliseconds: Mapping[str, float]
    seconds: float
    start_up: float
    cpu_seconds: float

    @property
    def total(self) -> float:
        """Milliseconds per image of all stages."""
        return sum(self.milliseconds.values())

    def efficiency(self, seconds: float) -> float:
        """Return `seconds` divided by the time in which all cores would only compute the stages, without idling."""
        return 1000 * seconds * self.cores / (self.total * self.images)


def measure_all(
    data: Path, manifest: Manifest, weights: Path, precision: str, options: Options, work: Path
) -> Breakdown | None:
    """Run `inference.py` on the folder, then its stages one at a time; None if the precision is not offered."""
    name = f"{read_metadata(weights).name}, {precision}"
    choice = ("--precision", precision, "--mask-resize", options.mask_resize)
    contender = ours(name, weights, options.batch_size, *choice)
    work.mkdir()
    report = work / "run.json"
    try:
        usage = run(contender.command(data, work / "whole", report), ROOT)
    except FailedError as error:
        if error.code != Exit.USER:
            raise
        logger.warning("%s: not offered: %s", name, error.last_line)
        return None
    start_up = since_start(usage, report, "start_up_s") or 0.0
    images = len({sample.image_path for sample in manifest.samples})
    seconds = measure(data, manifest.samples, options, work / "stages")
    milliseconds = {stage: 1000 * value / images for stage, value in seconds.items()}
    return Breakdown(name, images, available_cpus(), milliseconds, usage.seconds, start_up, usage.cpu_seconds)


def table(found: Sequence[Breakdown]) -> str:
    """Return the Markdown table: milliseconds by stage, the whole run, and how busy it keeps the processors."""
    lines = [
        "| CPU ms per image | " + " | ".join(one.name for one in found) + " |",
        "|---|" + "---|" * len(found),
    ]
    lines += [
        f"| {stage} | " + " | ".join(f"{one.milliseconds[stage]:.2f}" for one in found) + " |" for stage in STAGES
    ]
    rows = {
        "all stages": [f"**{one.total:.1f}**" for one in found],
        "whole run: CPU ms per image": [f"{1000 * one.cpu_seconds / one.images:.1f}" for one in found],
        "whole run: seconds (of these start-up)": [f"{one.seconds:.1f} ({one.start_up:.1f})" for one in found],
        "all stages / cores: seconds": [f"{one.total * one.images / one.cores / 1000:.1f}" for one in found],
        "ratio, whole run": [f"{one.efficiency(one.seconds):.2f}" for one in found],
        "ratio, without start-up": [f"{one.efficiency(one.seconds - one.start_up):.2f}" for one in found],
    }
    return "\n".join([*lines, *(f"| {label} | " + " | ".join(cells) + " |" for label, cells in rows.items())])


def draw(found: Sequence[Breakdown], path: Path) -> None:
    """Draw one bar per way to run, split by stage, as PNG."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure((10, 1.7 + 0.7 * len(found)), layout="constrained")
    axes = figure.subplots()
    longest = max(one.total for one in found)
    names = [one.name for one in found]
    left = [0.0] * len(found)
    for number, stage in enumerate(STAGES):
        widths = [one.milliseconds[stage] for one in found]
        bars = axes.barh(names, widths, 0.62, left, label=stage, color=colormaps["tab10"](number), edgecolor="white")
        axes.bar_label(
            bars,
            [f"{w:.1f}" if w > longest / 22 else "" for w in widths],
            label_type="center",
            color="white",
            fontsize=9,
        )
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for position, total in enumerate(left):
        axes.text(total + longest / 100, position, f"{total:.1f} ms", va="center", fontsize=10, fontweight="bold")
    axes.set_xlim(0, longest * 1.12)
    axes.invert_yaxis()
    axes.set_xlabel("processor milliseconds per image, every stage measured alone")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(ncols=len(STAGES), loc="lower center", bbox_to_anchor=(0.45, 1), frameon=False, handlelength=1)
    figure.savefig(path, dpi=110, format="png")


@click.command()
@click.option(
    "--weights",
    "folders",
    multiple=True,
    default=[ROOT / "weights"],
    type=FOLDER,
    help="Exported weights; may be repeated. [default: weights/]",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    default=["auto"],
    show_default=True,
    help="As for inference.py; may be repeated; all weights are measured with each.",
)
@click.option("--rows", default=1000, show_default=True, type=click.IntRange(1))
@click.option("--batch-size", default=Options.batch_size, show_default=True)
@click.option("--mask-resize", default="logits", type=click.Choice(["logits", "labels"]), show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--picture", type=FILE, help="Write a chart of the stages (PNG).")
@click.option("--json", "json_file", type=FILE, help="Write all numbers to this file.")
def breakdown(
    folders: Sequence[Path],
    precisions: Sequence[str],
    rows: int,
    batch_size: int,
    mask_resize: str,
    seed: int,
    picture: Path | None,
    json_file: Path | None,
) -> None:
    """Split our time into decode, resize, encoder, decoder, heads, post-processing and writing."""
    weights = [folder.resolve() for folder in folders]
    tasks, found, where = answered_by(*weights), [], machine()
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        phantoms = Phantoms.draw()
        write_rows(data, mix(rows, tasks, phantoms), tasks, phantoms, seed)
        manifest = read_manifest(data, tasks)
        for number, (folder, precision) in enumerate((w, p) for w in weights for p in precisions):
            options = Options(folder, batch_size, precision=precision, mask_resize=mask_resize)
            one = measure_all(data, manifest, folder, precision, options, Path(name) / str(number))
            found += [one] if one else []
    if not found:
        raise click.ClickException("nothing could be measured")
    click.echo(f"{rows} rows of {found[0].images} images; {machine_line(where)}\n\n{table(found)}")
    if picture:
        draw(found, picture)
    if json_file:
        content = {"machine": where, "rows": rows, "runs": [asdict(one) for one in found]}
        json_file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
