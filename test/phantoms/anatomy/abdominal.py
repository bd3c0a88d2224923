"""Belly and pelvis, under a convex probe: organs, liver lesions, ovary, uterus, cervix; and the heart between ribs."""

import numpy as np

from phantoms.anatomy.picture import Picture
from phantoms.anatomy.shapes import Below, Blob, Both, Capsule, HalfPlane, extent, label_map, ripples
from phantoms.physics import Convex, Probe, Tissue, scan

ORGANS = ("bladder", "bowel", "gallbladder", "kidney", "liver", "spleen")


def organ(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """One of the six `ORGANS`, each with its own texture."""
    label = case % len(ORGANS)
    tissue = _abdomen(rng, Convex(width, height))
    w, h = width, height
    x, y = w * rng.uniform(0.46, 0.54), h * rng.uniform(0.5, 0.56)
    match ORGANS[label]:
        case "bladder":
            wall = Blob(x, y, h * 0.32, h * 0.24, 0, ripples(rng, (2, 3), 0.05))
            tissue.fill(wall, -52, -22)
            tissue.line(wall, 5, 0.03)
        case "bowel":
            for offset in (-0.24, 0.0, 0.24):
                loop = Blob(
                    x + offset * w, y + h * rng.uniform(-0.1, 0.1), h * 0.13, h * 0.11, 0, ripples(rng, (3,), 0.06)
                )
                tissue.fill(loop, -6, 70)
                tissue.line(loop.scaled(1.1), 9, 0.1)
        case "gallbladder":
            liver = Blob(x, y - h * 0.05, w * 0.42, h * 0.4)
            tissue.fill(liver, -7, 6)
            pear = Blob(x, y, h * 0.27, h * 0.11, rng.uniform(0.3, 0.8), ((1, 0.22, 0.0),))
            tissue.fill(pear, -52, -36)
            tissue.line(pear, 5, 0.05)
        case "kidney":
            cortex = Blob(x, y, h * 0.36, h * 0.19, rng.uniform(-0.3, 0.1), ripples(rng, (2,), 0.02))
            tissue.fill(cortex, -17, 4)
            for turn in np.linspace(0.4, 2 * np.pi, 7):
                pyramid = Blob(*cortex.point(turn, 0.66), h * 0.04, h * 0.035)
                tissue.fill(pyramid, -25, 2)
            tissue.fill(Blob(x, y, h * 0.21, h * 0.07, cortex.angle, ripples(rng, (3, 5), 0.12)), 1, 14)
            tissue.line(cortex, 2, 0.03)
        case "liver":
            _liver(rng, tissue)
        case _:
            crescent = Both(Blob(x, y, w * 0.36, h * 0.27, 0.2), Blob(x - w * 0.05, y - h * 0.14, w * 0.4, h * 0.34))
            tissue.fill(Below(h * 0.2, h * 0.1), -22, 4)
            tissue.fill(crescent, -3, 4)
            tissue.line(crescent, 5, 0.03)
    return Picture(scan(tissue, rng), labels={"organ_cls": label})


def _abdomen(rng: np.random.Generator, probe: Probe) -> Tissue:
    """Skin, fat and muscle over loosely structured tissue."""
    w, h = probe.width, probe.height
    tissue = Tissue(probe, -11, 12)
    waves = ((w * 0.7, h * 0.012, rng.uniform(0, 6.28)),)
    tissue.fill(Below(0, h, waves=waves), -9, 12)
    tissue.fill(Below(h * 0.18, h * 0.1, waves=waves), -13, 12)
    tissue.vary(rng, 0.02, 0.07, 3.2)
    tissue.line(Below(h * 0.17, h * 0.1, waves=waves), 3, 0.05)
    return tissue


def _liver(rng: np.random.Generator, tissue: Tissue) -> None:
    """Even texture, vessels with bright walls, the diaphragm's arc far below."""
    w, h = tissue.probe.width, tissue.probe.height
    tissue.fill(Below(h * 0.17, h * 0.1), -8, 10)
    tissue.vary(rng, 0.015, 0.03, 1.0)
    for _ in range(4):
        x, y = w * rng.uniform(0.25, 0.75), h * rng.uniform(0.35, 0.72)
        turn, length = rng.uniform(0, np.pi), h * rng.uniform(0.06, 0.16)
        vessel = Capsule(x, y, x + length * np.cos(turn), y + length * np.sin(turn), h * rng.uniform(0.012, 0.022))
        tissue.fill(vessel, -40, -4)
        tissue.line(vessel, -3, 0.3)
    diaphragm = Blob(w * 0.5, h * 0.35, w * 0.55, h * 0.53)
    tissue.line(diaphragm, 10, 0.02)


def liver_lesion(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """0 benign: a bright, smooth haemangioma; 1 malignant: a dark, irregular mass with a halo."""
    tissue = Tissue(Convex(width, height), -9, 12)
    tissue.fill(Below(0, height), -9, 12)
    _liver(rng, tissue)
    label = case % 2
    place = width * rng.uniform(0.42, 0.58), height * rng.uniform(0.45, 0.58)
    size = min(width, height) * rng.uniform(0.13, 0.17)
    if label:
        mass = Blob(*place, size * 1.2, size, rng.uniform(-0.5, 0.5), ripples(rng, (2, 3, 5, 8), 0.09))
        tissue.fill(mass.scaled(1.15), -25, 4)
        tissue.fill(mass, -17, 16)
    else:
        mass = Blob(*place, size, size * 0.9, 0, ripples(rng, (2, 3), 0.03))
        tissue.fill(mass, 4, -10)
    return Picture(scan(tissue, rng), labels={"liver_lesion_2cls": label})


def ovary(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """A large cyst with a septum and a solid nodule."""
    del case
    probe = Convex(width, height, 0.16, 1.12, 0.8)
    tissue = _abdomen(rng, probe)
    size = min(width, height) * rng.uniform(0.2, 0.26)
    cyst = Blob(width * rng.uniform(0.45, 0.55), height * rng.uniform(0.48, 0.55), size * 1.25, size,
                rng.uniform(-0.4, 0.4), ripples(rng, (2, 3, 5), 0.035))  # fmt: skip
    tissue.fill(cyst.scaled(1.12), -8, 4)
    tissue.fill(cyst, -44, -20)
    nodule = Blob(*cyst.point(rng.uniform(0.6, 2.4), 0.75), size * 0.34, size * 0.28, 0, ripples(rng, (3, 5), 0.09))
    tissue.fill(Both(nodule, cyst), -9, 6)
    tissue.line(Capsule(*cyst.point(3.6), *cyst.point(5.4), size * 0.03), -3, 0.9)
    tissue.line(cyst, 4, 0.03)
    return Picture(scan(tissue, rng), masks={"ovary_tumor": label_map(probe, [(cyst, 1)])})


def fibroid(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """A uterus with its bright endometrium and one round, dark, whorled fibroid."""
    del case
    tissue = _abdomen(rng, Convex(width, height, 0.22, 1.18, 0.72))
    w, h = width, height
    uterus = Blob(w * 0.5, h * 0.54, h * 0.42, h * 0.27, rng.uniform(-0.2, 0.2), ((1, 0.12, 0.0),))
    tissue.fill(uterus, -12, 8)
    tissue.fill(uterus.scaled(0.35), -3, 8)
    tissue.line(uterus, 2, 0.025)
    size = min(w, h) * rng.uniform(0.12, 0.15)
    mass = Blob(*uterus.point(rng.uniform(0.2, 1.3) * float(rng.choice([-1, 1])), 0.55), size * 1.1, size, 0,
                ripples(rng, (2, 3), 0.03))  # fmt: skip
    tissue.fill(mass, -20, 45)
    for factor in (0.4, 0.7):
        tissue.line(mass.scaled(factor), -12, 0.12)
    tissue.line(mass, 1, 0.05)
    return Picture(scan(tissue, rng), boxes={"uterine_fibroid_det": extent(label_map(tissue.probe, [(mass, 1)]))})


def cervix(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """The cervix along its canal: two lips (front 1, back 2), and the canal's ends as points."""
    del case
    probe = Convex(width, height, 0.14, 1.08, 0.85)
    tissue = _abdomen(rng, probe)
    w, h = width, height
    angle = rng.uniform(-0.35, 0.35)
    whole = Blob(w * rng.uniform(0.46, 0.54), h * rng.uniform(0.47, 0.55), h * 0.33, h * 0.16, angle,
                 ripples(rng, (2, 3), 0.03))  # fmt: skip
    bladder = Blob(w * 0.3, h * 0.24, h * 0.13, h * 0.07, -0.3)
    tissue.fill(bladder, -48, -12)
    tissue.line(bladder, 2, 0.05)
    tissue.fill(whole.scaled(1.08), -21, 6)
    tissue.fill(whole, -10, 6)
    ends = whole.point(np.pi, 0.86), whole.point(0, 0.86)
    canal = Capsule(*ends[0], *ends[1], h * 0.014)
    tissue.fill(Capsule(*ends[0], *ends[1], h * 0.035), -2, 8)
    tissue.fill(canal, -30, 6)
    tissue.line(whole, -2, 0.05)
    back = Both(whole, HalfPlane(*ends[0], *ends[1]))
    return Picture(
        scan(tissue, rng),
        masks={"cervix": label_map(probe, [(whole, 1)]), "cervix_multi": label_map(probe, [(whole, 1), (back, 2)])},
        points={"FUGC": ends},
    )


def heart(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """Two chambers from the apex: left ventricle 1, its muscle 2, left atrium 3."""
    del case
    probe = Convex(width, height, 0.02, 0.97, 0.66)
    tissue = Tissue(probe, -20, 6)
    tissue.vary(rng, 0.03, 0.1, 3.5)
    h = height
    x, angle = width * rng.uniform(0.48, 0.53), rng.uniform(-0.12, 0.12)
    ventricle = Blob(x, h * 0.38, h * 0.23, h * rng.uniform(0.1, 0.125), np.pi / 2 + angle, ripples(rng, (2, 3), 0.03))
    muscle = Blob(x, h * 0.385, h * 0.3, h * 0.185, np.pi / 2 + angle, ripples(rng, (2, 3), 0.02))
    base = ventricle.point(0, 1.42)
    atrium = Blob(*base, h * 0.115, h * 0.12, angle, ripples(rng, (2, 3), 0.04))
    tissue.fill(muscle, -7, 6)
    tissue.line(muscle, 3, 0.05)
    tissue.fill(atrium.scaled(1.16), -9, 6)
    tissue.fill(atrium, -46, -2)
    tissue.fill(ventricle, -46, -2)
    tissue.line(ventricle, -1, 0.06)
    hinge = ventricle.point(0.5), ventricle.point(-0.5)
    for start, turn in zip(hinge, (0.25, -0.25), strict=True):  # the valve's leaflets
        tissue.line(Capsule(*start, *ventricle.point(turn, 0.8), h * 0.006), 4, 0.9)
    labels = label_map(probe, [(muscle, 2), (atrium, 3), (ventricle, 1)])
    return Picture(scan(tissue, rng), masks={"cardiac_multi": labels})
