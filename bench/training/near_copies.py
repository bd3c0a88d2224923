"""Near-copies: how many of those planted in real images are found, and what searching generated ones costs."""

import io
import json
import resource
import time
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.measuring.stopwatch import cpu_seconds
from challenge.cli import FOLDER
from challenge.imaging.decode import read_image
from challenge.manifest import read_manifest
from challenge.paths import find_image
from training.config import DataConfig
from training.data.near_copies import Images, search
from training.data.pixels import in_parallel
from training.data.thumbnails import SIDE, Thumbnail, thumbnail

_EVERY = 100
"""One generated image in so many has a near-copy."""
_CUTS = {"nothing": (0.0, 0.0, 0.0, 0.0), "left and right": (0.02, 0.0, 0.02, 0.0), "all sides": (0.02,) * 4,
         "left and top": (0.02, 0.02, 0.0, 0.0)}  # fmt: skip
"""What a planted copy lacks, as parts of width and height: left, top, right, bottom."""


def generate(count: int) -> dict[str, Thumbnail]:
    """Return thumbnails by name: random structures in one sector. The name of a near-copy begins with "copy"."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    sector = (np.abs(columns) < 0.2 + 0.5 * (rows + 0.5)) & (rows**2 + columns**2 < 0.25)
    found: dict[str, Thumbnail] = {}
    while len(found) < count:
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
        image = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)) * sector
        number = len(found)
        found[f"{number}"] = image
        if number % _EVERY == 0:
            noisy = image + rng.normal(0, 4, image.shape) * sector
            found[f"copy of {number}"] = np.clip(noisy, 0, 255).astype(np.uint8)
    return found


def cropped(pixels: npt.NDArray[np.uint8], cut: tuple[float, ...]) -> npt.NDArray[np.uint8]:
    """Return (H, W, 3) uint8 without parts of its sides, written as JPEG and read again."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = (round(part * side) for part, side in zip(cut, (width, height) * 2, strict=True))
    stream = io.BytesIO()
    Image.fromarray(pixels[top : height - bottom, left : width - right]).save(stream, "JPEG", quality=75)
    return np.asarray(Image.open(stream), np.uint8)


def planted_line(originals: Images, copies: Images, cut: str) -> str:
    """Return a line of the table: how many copies the search finds, as second or first of a pair, and plain r does."""
    least, count = DataConfig.near_copies, len(originals.thumbnails)
    hits = [
        sum(copy.one == copy.other for copy in search(one, least, other)) / count
        for one, other in ((originals, copies), (copies, originals))
    ]
    plain = np.mean([
        np.corrcoef(image.ravel(), copies.thumbnails[name].ravel())[0, 1] > least
        for name, image in originals.thumbnails.items()
    ])  # fmt: skip
    return f"| {cut} | {count} | {hits[0]:.1%} | {hits[1]:.1%} | {plain:.1%} |"


def measure_planted(data_root: Path, sample: int) -> None:
    """Print how many copies of a sample of real images are found, by what was cut off, and all pairs of the folder."""
    paths = sorted({row.image_path for row in read_manifest(data_root).samples})
    chosen = set(np.random.default_rng(0).choice(paths, min(sample, len(paths)), replace=False).tolist())

    def look(path: str) -> list[Thumbnail]:
        pixels = read_image(find_image(data_root, path)).pixels
        cuts = _CUTS.values() if path in chosen else ()
        return [thumbnail(pixels), *(thumbnail(cropped(np.ascontiguousarray(pixels), cut)) for cut in cuts)]

    looks = dict(zip(paths, in_parallel(look, paths, "images"), strict=True))
    click.echo("| cut off | copies | found | found, copy first | plain correlation |\n|---|---|---|---|---|")
    originals = Images({path: looks[path][0] for path in chosen}, {path: "original" for path in chosen})
    for number, cut in enumerate(_CUTS, 1):
        copies = Images({path: looks[path][number] for path in chosen}, {path: "copy" for path in chosen})
        click.echo(planted_line(originals, copies, cut))
    apart = Images({path: found[0] for path, found in looks.items()}, {path: path for path in paths})
    click.echo(f"{len(search(apart, DataConfig.near_copies))} pairs among {len(paths)} images, whatever their groups")


def peak_mib() -> int:
    """Peak resident memory of this process so far, libraries included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@click.command("near-copies")
@click.option("--images", "count", default=40_000, show_default=True, help="Thumbnails to generate.")
@click.option("--data-root", type=FOLDER, help="Plant copies of images of this data folder instead.")
@click.option("--sample", default=1500, show_default=True, help="Images of --data-root that get a copy.")
def near_copies(count: int, data_root: Path | None, sample: int) -> None:
    """Search generated thumbnails and print times and memory as JSON; or find copies planted in real images."""
    if data_root:
        measure_planted(data_root, sample)
        return
    thumbnails = generate(count)
    planted = sum(name.startswith("copy") for name in thumbnails)
    start, cpu, before = time.perf_counter(), cpu_seconds(), peak_mib()
    found = search(Images(thumbnails, {name: name for name in thumbnails}), DataConfig.near_copies)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    facts = {"images": len(thumbnails), "planted": planted, "pairs": len(found), "added_mib": peak_mib() - before}
    click.echo(json.dumps(facts | {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1)}))
