"""Pictures like ultrasound scans, and near-copies of them."""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def scan(seed: int, *, side: int = 128, sector: bool = True) -> Pixels:
    """Return (side, side, 3) uint8: random structures and speckle, black outside of a sector that all scans share."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 200, (8, 8), dtype=np.uint8)).resize(
        (side, side), Image.Resampling.BICUBIC
    )
    grey = np.asarray(coarse, np.float64) * rng.uniform(0.8, 1.2, (side, side)) + 20
    if sector:
        rows, columns = np.mgrid[:side, :side] / side - 0.5
        grey *= (np.abs(columns) < 0.2 + 0.5 * (rows + 0.5)) & (rows**2 + columns**2 < 0.25)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def near_copy(pixels: Pixels, cut: tuple[float, float, float, float] = (0.02,) * 4) -> Pixels:
    """Return the picture without the given parts of its sides (left, top, right, bottom), as JPEG and back."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = cut
    box = (round(left * width), round(top * height), width - round(right * width), height - round(bottom * height))
    stream = io.BytesIO()
    Image.fromarray(pixels).crop(box).save(stream, "JPEG", quality=75)
    return np.asarray(Image.open(stream), np.uint8)


def write_scans(root: Path, pictures: Mapping[str, Pixels], groups: Mapping[str, str] | None = None) -> Path:
    """Write a data folder of one classification task; pictures and groups by name. Return the folder."""
    (root / "csv_files").mkdir(parents=True)
    lines = ["image_path,mask,task_id,task_name,num_classes,group"]
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(root / f"{name}.png")
        lines.append(f"../{name}.png,0,breast_2cls,classification,2,{(groups or {}).get(name, '')}")
    (root / "csv_files" / "a.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return root
