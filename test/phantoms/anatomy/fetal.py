"""Before and during birth, under a convex probe: head, abdomen, heart, femur, spine, and the mother's symphysis."""

import math

import numpy as np

from phantoms.anatomy import abdominal
from phantoms.anatomy.picture import Picture, Points
from phantoms.anatomy.shapes import Below, Blob, Both, Capsule, label_map, ripples
from phantoms.physics import Convex, Tissue, scan


def head(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """A skull as an ellipse; the ends of its long (OFD) and short (BPD) diameters, in the order of the data set."""
    del case
    tissue = _womb(rng, width, height)
    skull = _skull(rng, tissue, rng.uniform(-0.5, 0.5))
    long = sorted((skull.point(0), skull.point(np.pi)))
    short = sorted((skull.point(np.pi / 2), skull.point(-np.pi / 2)), key=lambda point: point[1])
    return Picture(
        scan(tissue, rng),
        masks={"fetal_head": label_map(tissue.probe, [(skull, 1)])},
        points={"fetal_head_biometry": (*long, *short)},
    )


def head_position(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """The head's direction in eighths of a turn, clockwise from the right; two dark orbits are at its front."""
    label = case % 8
    tissue = _womb(rng, width, height)
    skull = _skull(rng, tissue, label * np.pi / 4 + rng.uniform(-0.12, 0.12))
    for turn in (0.5, -0.5):
        orbit = Blob(*skull.point(turn, 0.72), skull.b * 0.17, skull.b * 0.17)
        tissue.fill(orbit, -50, -10)
        tissue.line(orbit, 7, 0.22)
    return Picture(scan(tissue, rng), labels={"fetal_head_pos_cls": label})


def sacrum_position(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """The spine's place around the trunk in eighths of a turn, clockwise from the right."""
    label = case % 8
    tissue = _womb(rng, width, height)
    trunk = _trunk(rng, tissue)
    _spine(tissue, trunk, label * np.pi / 4 + rng.uniform(-0.12, 0.12) - trunk.angle)
    return Picture(scan(tissue, rng), labels={"fetal_sacral_pos_cls": label})


def abdomen(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """The trunk across: artery 1, liver 2, stomach 3, vein 4."""
    del case
    tissue = _womb(rng, width, height)
    trunk = _trunk(rng, tissue)
    turn = rng.uniform(0, 2 * np.pi)
    _spine(tissue, trunk, turn)
    size = trunk.b
    artery = Blob(*trunk.point(turn + 0.3, 0.5), size * 0.09, size * 0.09)
    liver = Both(Blob(*trunk.point(turn + 2.3, 0.42), size * 0.62, size * 0.5, turn, ripples(rng, (2, 3), 0.06)),
                 trunk.scaled(0.93))  # fmt: skip
    stomach = Blob(*trunk.point(turn - 1.5, 0.5), size * 0.3, size * 0.2, turn, ripples(rng, (2, 3), 0.08))
    start, stop = trunk.point(turn + np.pi, 0.62), trunk.point(turn + 2.6, 0.15)
    vein = Capsule(*start, *stop, size * 0.07)
    for shape, echo in ((liver, -4), (artery, -48), (stomach, -50), (vein, -46)):
        tissue.fill(shape, echo, 2)
    for hollow in (artery, stomach, vein):
        tissue.line(hollow, -1, 0.12)
    labels = label_map(tissue.probe, [(liver, 2), (artery, 1), (stomach, 3), (vein, 4)])
    return Picture(scan(tissue, rng), masks={"fetal_abdomen_multi": labels})


def thorax(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """The heart with its four chambers in the chest."""
    del case
    tissue = _womb(rng, width, height)
    trunk = _trunk(rng, tissue)
    turn = rng.uniform(0, 2 * np.pi)
    _spine(tissue, trunk, turn)
    heart = Blob(
        *trunk.point(turn + np.pi, 0.22), trunk.b * 0.56, trunk.b * 0.42, turn + 0.7, ripples(rng, (2, 3), 0.03)
    )
    tissue.fill(heart, -7, 4)
    for quarter in range(4):
        centre = heart.point(np.pi / 4 + quarter * np.pi / 2, 0.48)
        tissue.fill(Blob(*centre, heart.a * 0.32, heart.b * 0.3, heart.angle), -46, 0)
    tissue.line(heart, -1, 0.06)
    return Picture(scan(tissue, rng), masks={"fetal_heart": label_map(tissue.probe, [(heart, 1)])})


def femur(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """A bright bone with its shadow in the thigh; its two ends, left first."""
    del case
    tissue = _womb(rng, width, height)
    half, angle = min(width, height) * rng.uniform(0.2, 0.28), rng.uniform(-0.45, 0.45)
    x, y = width * rng.uniform(0.46, 0.54), height * rng.uniform(0.42, 0.52)
    thigh = Blob(x, y, half * 1.5, half * 0.7, angle, ripples(rng, (2, 3), 0.05))
    tissue.fill(thigh, -15, 6)
    tissue.line(thigh, -2, 0.04)
    dx, dy = half * math.cos(angle), half * math.sin(angle)
    ends: Points = ((x - dx, y - dy), (x + dx, y + dy))
    bone = Capsule(*ends[0], *ends[1], min(width, height) * 0.016)
    tissue.fill(bone, 12, 420)
    return Picture(scan(tissue, rng), points={"fetal_femur": ends})


def plane(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """The standard planes: 0 abdomen, 1 brain, 2 femur, 3 thorax, 4 cervix, 5 none of them (a wall and fluid)."""
    label = case % 6
    painters = (abdomen, head, femur, thorax, abdominal.cervix, _no_plane)
    return Picture(painters[label](rng, width, height, case).grey, labels={"fetal_plane_cls": label})


def _no_plane(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    del case
    return Picture(scan(_womb(rng, width, height), rng))


def symphysis(rng: np.random.Generator, width: int, height: int, case: int) -> Picture:
    """Seen from below during birth: the symphysis (1) with its two ends, the head (2), and the point where the
    tangent from the symphysis' lower end touches the head."""
    del case
    probe = Convex(width, height, 0.26, 1.22, 0.7)
    tissue = Tissue(probe, -13, 12)
    tissue.vary(rng, 0.03, 0.08, 3.2)
    w, h = width, height
    bone = Blob(w * rng.uniform(0.32, 0.4), h * rng.uniform(0.22, 0.29), h * 0.12, h * 0.055, rng.uniform(0.1, 0.7))
    tissue.fill(bone, -14, 10)
    tissue.line(bone, 6, 0.1)
    size = h * rng.uniform(0.23, 0.29)
    skull = Blob(w * rng.uniform(0.5, 0.64), h * rng.uniform(0.62, 0.68), size, size * 0.84, rng.uniform(-0.6, 0.3))
    tissue.fill(skull, -19, 30)
    tissue.line(skull, 13, 0.045, 40)
    upper, lower = bone.point(np.pi), bone.point(0)
    return Picture(
        scan(tissue, rng),
        masks={"head_symphysis_multi": label_map(probe, [(skull, 2), (bone, 1)])},
        points={"IUGC": (upper, lower, _tangent_point(skull, lower))},
    )


def _tangent_point(ellipse: Blob, start: tuple[float, float]) -> tuple[float, float]:
    """Where the tangent from an outside point touches an ellipse; of the two, the one on the right."""
    cos, sin = math.cos(ellipse.angle), math.sin(ellipse.angle)
    dx, dy = start[0] - ellipse.x, start[1] - ellipse.y
    u, v = (dx * cos + dy * sin) / ellipse.a, (dy * cos - dx * sin) / ellipse.b
    # On the unit circle the two contacts lie acos(1 / distance) to either side of the direction to the start.
    towards, spread = math.atan2(v, u), math.acos(1 / math.hypot(u, v))
    return max(ellipse.point(towards + spread), ellipse.point(towards - spread))


def _womb(rng: np.random.Generator, width: int, height: int) -> Tissue:
    """The mother's wall and placenta over amniotic fluid, more tissue below."""
    w, h = width, height
    tissue = Tissue(Convex(width, height, 0.3, 1.24, 0.66), -10, 8)
    upper = Below(h * rng.uniform(0.16, 0.2), h * 0.1, 0, ((w * 0.9, h * 0.02, rng.uniform(0, 6.28)),))
    lower = Below(h * rng.uniform(0.86, 0.9), h * 0.1, 0, ((w * 0.8, h * 0.03, rng.uniform(0, 6.28)),))
    tissue.fill(upper, -33, -2)
    tissue.fill(lower, -9, 4)
    tissue.vary(rng, 0.02, 0.06, 3.0)
    tissue.line(upper, 0, 0.08)
    tissue.line(lower, 2, 0.1)
    return tissue


def _skull(rng: np.random.Generator, tissue: Tissue, angle: float) -> Blob:
    w, h = tissue.probe.width, tissue.probe.height
    size = min(w, h) * rng.uniform(0.31, 0.35)
    skull = Blob(w * rng.uniform(0.47, 0.53), h * rng.uniform(0.5, 0.54), size, size * rng.uniform(0.74, 0.8), angle)
    tissue.fill(skull, -21, 6)
    for turn in (0.0, np.pi):  # the choroid plexus on either side of the midline
        for side in (0.5, -0.5):
            tissue.fill(Blob(*skull.point(turn + side, 0.42), size * 0.2, size * 0.07, angle + side), -13, 4)
    tissue.line(Capsule(*skull.point(np.pi, 0.85), *skull.point(0, 0.85), size * 0.014), 4, 0.9)
    tissue.fill(Blob(*skull.point(0, 0.38), size * 0.13, size * 0.05, angle), -42, 0)
    tissue.line(skull, 15, 0.04, 30)
    return skull


def _trunk(rng: np.random.Generator, tissue: Tissue) -> Blob:
    w, h = tissue.probe.width, tissue.probe.height
    size = min(w, h) * rng.uniform(0.31, 0.35)
    trunk = Blob(w * rng.uniform(0.47, 0.53), h * rng.uniform(0.5, 0.54), size, size * rng.uniform(0.88, 0.97),
                 rng.uniform(0, np.pi), ripples(rng, (3, 4), 0.012))  # fmt: skip
    tissue.fill(trunk, -12, 8)
    tissue.line(trunk, 5, 0.035)
    return trunk


def _spine(tissue: Tissue, trunk: Blob, turn: float) -> None:
    """Three bright centres, each with its shadow; `turn` is measured from the trunk's own long axis."""
    for offset, share in ((0.0, 0.66), (0.2, 0.8), (-0.2, 0.8)):
        tissue.fill(Blob(*trunk.point(turn + offset, share), trunk.b * 0.075, trunk.b * 0.055), 10, 200)
