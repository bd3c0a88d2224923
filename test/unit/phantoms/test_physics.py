import numpy as np
import pytest
from phantoms import physics
from phantoms.anatomy.shapes import Below, Blob
from phantoms.physics import LINES, SAMPLES, Convex, Linear, Probe, Tissue, in_sector, scan

PROBES = [Linear(200, 150), Linear(120, 300, 0.1), Convex(300, 240), Convex(300, 240, 0.02, 0.97, 0.66)]


@pytest.mark.parametrize("probe", PROBES)
def test_beams_and_locate_are_inverse(probe: Probe) -> None:
    sample, line = probe.locate(*probe.beams())
    np.testing.assert_allclose(sample, np.arange(SAMPLES)[:, None] + np.zeros(LINES), atol=0.01)
    np.testing.assert_allclose(line, np.zeros((SAMPLES, 1)) + np.arange(LINES), atol=0.01)


@pytest.mark.parametrize("probe", PROBES)
def test_outside_of_the_sector_is_black(probe: Probe) -> None:
    image, inside = scan(Tissue(probe), np.random.default_rng(0)), in_sector(probe)
    assert image.shape == (probe.height, probe.width)
    assert image.min() >= 0
    assert image.max() <= 1
    assert not image[~inside].any()
    assert image[inside].mean() > 0.2
    assert 0.3 < inside.mean() <= 1


def test_speckle_is_fully_developed() -> None:
    """The envelope of a uniform medium is Rayleigh distributed: mean / deviation = sqrt(pi / (4 - pi)) = 1.91."""
    tissue = Tissue(Linear(200, 150))
    envelopes = np.stack([physics._envelope(tissue, np.random.default_rng(seed)) for seed in range(4)])
    assert envelopes.mean() / envelopes.std() == pytest.approx(1.91, abs=0.06)
    assert (envelopes**2).mean() == pytest.approx(1, abs=0.06)


def test_speckle_is_correlated_and_widens_with_depth_under_a_convex_probe() -> None:
    probe = Convex(600, 480)
    image = scan(Tissue(probe), np.random.default_rng(0))

    def width(rows: slice) -> float:
        """How alike pixels 3 columns apart are."""
        strip = image[rows, 250:350]
        return float(np.corrcoef(strip[:, :-3].ravel(), strip[:, 3:].ravel())[0, 1])

    near, far = width(slice(60, 130)), width(slice(370, 440))
    assert far > near + 0.15
    assert near > 0.05


@pytest.mark.parametrize(("loss", "sign"), [(60.0, -1), (-30.0, 1)])
def test_shadow_and_enhancement_follow_the_attenuation(loss: float, sign: int) -> None:
    def behind(inside_loss: float) -> float:
        tissue = Tissue(Linear(200, 200))
        tissue.fill(Blob(100, 80, 30, 30), -20, inside_loss)
        return float(scan(tissue, np.random.default_rng(1))[130:180, 85:115].mean())

    assert sign * (behind(loss) - behind(0)) > 0.05


def test_interfaces_are_bright_where_the_beam_is_perpendicular() -> None:
    tissue = Tissue(Linear(200, 200), -15)
    tissue.line(Blob(100, 100, 60, 60), 15, 0.05)
    image = scan(tissue, np.random.default_rng(0))
    upright, along = image[36:44, 90:110].max(axis=0).mean(), image[90:110, 36:44].max(axis=1).mean()
    assert upright > along + 0.2


def test_a_fill_covers_what_was_painted_before() -> None:
    tissue = Tissue(Linear(100, 100))
    tissue.line(Below(50, 10), 20, 0.5)
    tissue.fill(Below(0, 10), -40)
    assert not tissue.interface[tissue.y > 1].any()
    assert (tissue.echo[tissue.y > 1] == -40).all()
