"""Near the skin, under a linear probe: breast, thyroid, carotid artery, lung, spinal cord."""

import math

import numpy as np

from phantoms.anatomy.picture import Picture
from phantoms.anatomy.shapes import Below, Blob, Capsule, extent, label_map, ripples
from phantoms.physics import Convex, Linear, Tissue, scan


def breast(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """Skin, fat, gland, muscle; benign: smooth, wide, enhanced behind; malignant: spiculated, tall, shadowed."""
    tissue = _layered_breast(rng, Linear(width, height))
    malignant = case % 2 == 1
    size = min(width, height) * rng.uniform(0.13, 0.19)
    x, y = width * rng.uniform(0.33, 0.67), height * rng.uniform(0.4, 0.5)
    if malignant:
        waves = ripples(rng, (2, 3, 5), 0.07) + ripples(rng, (9, 11, 16), 0.07)
        lesion = Blob(x, y, size * 0.85, size * 1.05, rng.uniform(-0.3, 0.3), waves)
        tissue.line(lesion, 0, 0.22)
        tissue.fill(lesion, -19, 60)
    else:
        lesion = Blob(x, y, size * 1.3, size * 0.8, rng.uniform(-0.2, 0.2), ripples(rng, (2, 3), 0.035))
        tissue.fill(lesion, -22, -30)
        tissue.line(lesion, 3, 0.04)
    mask = label_map(tissue.probe, [(lesion, 1)])
    return Picture(
        scan(tissue, rng),
        masks={"breast_lesion": mask},
        labels={"breast_2cls": int(malignant), "breast_3cls": 1 + int(malignant)},
        boxes={"breast_lesion_det": extent(mask)},
    )


def normal_breast(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """A breast without a lesion."""
    del case
    return Picture(scan(_layered_breast(rng, Linear(width, height)), rng), labels={"breast_3cls": 0})


def _layered_breast(rng: np.random.Generator, probe: Linear) -> Tissue:
    w, h = probe.width, probe.height
    tissue = Tissue(probe, -4, 8)
    fat = Below(h * 0.05, h * 0.1)
    gland = Below(h * rng.uniform(0.24, 0.3), h * 0.1, waves=_undulation(rng, w, h * 0.03))
    muscle = Below(h * rng.uniform(0.74, 0.8), h * 0.1, rng.uniform(-0.06, 0.06), _undulation(rng, w, h * 0.012))
    tissue.fill(fat, -15, 8)
    tissue.fill(gland, -5, 8)
    tissue.fill(muscle, -14, 12)
    tissue.vary(rng, 0.03, 0.07, 2.6)
    for _ in range(6):  # Cooper's ligaments
        x, y = rng.uniform(0, w), h * rng.uniform(0.08, 0.26)
        strand = Capsule(x, y, x + w * rng.uniform(-0.16, 0.16), y + h * rng.uniform(0.02, 0.08), h * 0.008)
        tissue.line(strand, -2, 0.9)
    tissue.line(fat, 4, 0.06)
    tissue.line(gland, -3, 0.05)
    tissue.line(muscle, 5, 0.07)
    return tissue


def _undulation(rng: np.random.Generator, width: int, height: float) -> tuple[tuple[float, float, float], ...]:
    return tuple((width * share, height * share, rng.uniform(0, 2 * np.pi)) for share in (1.1, 0.45, 0.21))


def thyroid(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """A bright lobe beside the trachea's arc and the carotid's black disc, with one nodule in the lobe."""
    del case
    tissue = Tissue(Linear(width, height), -8, 8)
    tissue.fill(Below(height * 0.16, height * 0.1, waves=_undulation(rng, width, height * 0.015)), -17, 8)
    side = float(rng.choice([-1.0, 1.0]))
    lobe = Blob(width * (0.5 + side * 0.05), height * 0.45, width * 0.3, height * 0.22, side * 0.12,
                ripples(rng, (2, 3), 0.04))  # fmt: skip
    tissue.fill(lobe, -4, 6)
    tissue.vary(rng, 0.02, 0.04, 1.8)
    trachea = Blob(width * (0.5 - side * 0.42), height * 0.62, width * 0.16, height * 0.25)
    tissue.fill(trachea, -22, 90)
    tissue.line(trachea, 8, 0.06)
    carotid = Blob(width * (0.5 + side * 0.4), height * 0.5, height * 0.09, height * 0.085)
    tissue.fill(carotid, -50, -20)
    tissue.line(carotid, 3, 0.1)
    tissue.line(lobe, 2, 0.025)
    size = min(width, height) * rng.uniform(0.09, 0.14)
    place = lobe.point(rng.uniform(0, 2 * np.pi), 0.4)
    nodule = Blob(*place, size * 1.2, size * 0.9, rng.uniform(-0.4, 0.4), ripples(rng, (2, 3, 5), 0.05))
    tissue.fill(nodule, -21, -15)
    tissue.line(nodule, 0, 0.08)
    mask = label_map(tissue.probe, [(nodule, 1)])
    return Picture(scan(tissue, rng), masks={"thyroid_nodule": mask}, boxes={"thyroid_nodule_det": extent(mask)})


def carotid(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """The artery across: a black disc with two bright walls, the flat jugular vein beside it."""
    del case
    tissue = Tissue(Linear(width, height, 0.06), -9, 10)
    tissue.fill(Below(height * 0.2, height * 0.1, waves=_undulation(rng, width, height * 0.03)), -15, 10)
    tissue.fill(Below(height * 0.72, height * 0.1, waves=_undulation(rng, width, height * 0.03)), -11, 16)
    tissue.vary(rng, 0.015, 0.1, 3.0)
    size = min(width, height) * rng.uniform(0.13, 0.17)
    x, y = width * rng.uniform(0.4, 0.6), height * rng.uniform(0.46, 0.56)
    vein = Blob(x + size * 1.9, y - size * 0.7, size * 1.1, size * 0.45, 0.3, ripples(rng, (2, 3), 0.06))
    tissue.fill(vein, -44, -12)
    tissue.line(vein, 0, 0.08)
    lumen = Blob(x, y, size * 1.05, size * 0.95, 0, ripples(rng, (2, 3), 0.02))
    tissue.fill(lumen.scaled(1.14), -12, 8)
    tissue.fill(lumen, -50, -28)
    tissue.line(lumen, 6, 0.035)
    tissue.line(lumen.scaled(1.17), 8, 0.04)
    return Picture(scan(tissue, rng), masks={"carotid_artery": label_map(tissue.probe, [(lumen, 1)])})


def lung(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """Even cases: a dark consolidation below the pleura; odd cases: healthy lung with A-lines and an empty mask."""
    tissue, depth = _pleura(rng, Linear(width, height))
    diseased = case % 2 == 0
    shapes = []
    if diseased:
        place = width * rng.uniform(0.38, 0.62), depth + height * 0.17
        region = Blob(*place, width * 0.17, height * 0.16, 0, ripples(rng, (2, 3, 5), 0.06))
        tissue.fill(region, -20, -12)
        tissue.line(region, 4, 0.05)
        shapes = [(region, 1)]
    else:
        _reverberations(tissue, depth)
    mask = label_map(tissue.probe, shapes)
    return Picture(scan(tissue, rng), masks={"lung": mask}, labels={"lung_2cls": int(diseased)})


def lung_disease(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """0 covid: B-lines; 1 pneumonia: consolidation with bright bronchi; 2 regular: A-lines."""
    probe = Convex(width, height, 0.32, 1.27, 0.55)
    tissue, depth = _pleura(rng, probe)
    label = case % 3
    if label == 0:
        below = tissue.y > depth
        for line in rng.uniform(0.1, 0.9, 6) * tissue.echo.shape[1]:
            ray = np.exp(-(((np.arange(tissue.echo.shape[1]) - line) / rng.uniform(2, 5)) ** 2))
            tissue.echo += below * ray * 26
    elif label == 1:
        region = Blob(width / 2, depth + height * 0.22, width * 0.24, height * 0.2, 0, ripples(rng, (2, 3, 5), 0.06))
        tissue.fill(region, -12, 0)
        for _ in range(9):
            x, y = region.point(rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.7))
            bronchus = Capsule(x, y, x + width * 0.03, y + height * rng.uniform(-0.01, 0.02), height * 0.006)
            tissue.line(bronchus, 9, 0.9)
    else:
        _reverberations(tissue, depth)
    return Picture(scan(tissue, rng), labels={"lung_disease_3cls": label})


def _pleura(rng: np.random.Generator, probe: Linear | Convex) -> tuple[Tissue, float]:
    """Chest wall over a bright pleural line; below it only what the probe makes up. Returns the line's y."""
    w, h = probe.width, probe.height
    tissue = Tissue(probe, -8, 10)
    tissue.fill(Below(h * 0.08, h * 0.1), -14, 10)
    tissue.vary(rng, 0.012, 0.12, 3.5)
    depth = h * rng.uniform(0.24, 0.3)
    pleura = Below(depth, h * 0.1, waves=_undulation(rng, w, h * 0.006))
    tissue.fill(pleura, -23, 22)
    for x in (w * 0.1, w * 0.92):
        rib = Blob(x, depth - h * 0.06, w * 0.09, h * 0.05)
        tissue.fill(rib, -25, 260)
        tissue.line(rib, 7, 0.1)
    tissue.line(pleura, 15, 0.06)
    return tissue, depth


def _reverberations(tissue: Tissue, depth: float) -> None:
    for echo in (2, 3):
        line = Below(depth * echo, tissue.probe.height * 0.1)
        tissue.line(line, 11 - 4 * (echo - 2), 0.05)


def spinal_cord(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """The cord along: a dark band between bright dura lines, its injury a bright, frayed patch."""
    del case
    tissue = Tissue(Linear(width, height), -10, 8)
    tissue.vary(rng, 0.02, 0.08, 3.0)
    slope, middle = rng.uniform(-0.08, 0.08), height * rng.uniform(0.45, 0.55)
    waves = ((width * 1.4, height * 0.03, rng.uniform(0, 6.28)),)

    def border(offset: float) -> Below:
        return Below(middle + offset * height - slope * width / 2, height * 0.1, slope, waves)

    tissue.fill(border(-0.25), -42, 4)
    tissue.fill(border(-0.18), -20, 6)
    tissue.fill(border(0.18), -42, 4)
    tissue.fill(border(0.24), -7, 25)
    for offset, bright in ((-0.25, 9), (-0.18, 5), (0.0, -3), (0.18, 5), (0.24, 10)):
        tissue.line(border(offset), bright, 0.05)
    x = width * rng.uniform(0.3, 0.7)
    size = height * rng.uniform(0.09, 0.12)
    place = middle + slope * (x - width / 2) + waves[0][1] * math.sin(2 * np.pi * x / waves[0][0] + waves[0][2])
    injury = Blob(x, place, size * 1.5, size, slope, ripples(rng, (2, 3, 5), 0.08))
    tissue.fill(injury, -1, 14)
    return Picture(scan(tissue, rng), boxes={"spinal_cord_injury_loc": extent(label_map(tissue.probe, [(injury, 1)]))})
