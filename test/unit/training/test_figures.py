"""Names are drawn literally, even if they look like a formula."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from challenge.tasks import TaskKind
from training.figures import distinct, literal, new_figure
from training.run_folder.run_report import _panels, draw_curves
from training.studies.aggregation_report import GROUPED, SPECIFIC, UNIFIED, TaskComparison
from training.studies.aggregation_report import draw as draw_comparisons

NAMES = ["$x$", "a$b", "$\\frac$", "$$", "\\$", "_{", "^", "$\\alpha^{", "per_cent%", "a\\$b$"]


def drawn(text, **how):
    figure = new_figure(4, 1)
    figure.text(0.1, 0.5, text, **how)
    stream = io.BytesIO()
    figure.savefig(stream, dpi=80)
    with Image.open(stream) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_drawn_literally(name):
    assert np.array_equal(drawn(literal(name)), drawn(name, parse_math=False))


def test_curves_and_bars_are_drawn_for_any_name(tmp_path):
    lines = [{"step": step, "loss": dict.fromkeys(NAMES, 0.5), "lr": {"encoder": 0.1, "heads": 0.2}} for step in (1, 2)]
    draw_curves(lines, tmp_path / "curves.png")
    draw_curves([], tmp_path / "nothing.png")
    scores = {SPECIFIC: 0.5, GROUPED: 0.6, UNIFIED: 0.4}
    draw_comparisons(
        [TaskComparison(name, "segmentation", "other", 3, scores) for name in NAMES], tmp_path / "bars.png"
    )
    for name in ("curves.png", "nothing.png", "bars.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 100


@pytest.mark.parametrize("count", [1, 2, 27, 60])
def test_looks_can_be_told_apart(count):
    looks = distinct(count)
    assert len({look.colour for look in looks}) == count
    for one, other in pairwise(looks):
        assert one.marker != other.marker
        assert one.line != other.line
    for red, green, blue in (look.colour for look in looks):
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.56  # not pale on white paper


def test_panels_are_those_that_the_log_has_curves_for(tmp_path):
    kinds = {"lung": TaskKind.SEGMENTATION, "FUGC": TaskKind.REGRESSION}
    loss = {"step": 1, "loss": {"lung": 0.5, "FUGC": 2.0}}
    dev = {"step": 2, "dev": {"lung": {"DSC": 0.5, "HD": 9.0}, "FUGC": {"MRE": 7.0}}, "selection": 0.4}
    rates = {"step": 2, "lr": {"encoder": 0.0, "heads": 0.0}}

    def titles(*lines):
        return [panel.title.split(" on ")[0] for panel in _panels(lines, kinds)]

    assert titles() == []
    assert titles(loss) == ["Loss per task"]
    assert titles(loss, dev, rates) == ["Loss per task", "Dice", "Mean radial error", "Selection", "Learning rate"]
    [panel] = [panel for panel in _panels([dev, dev | {"step": 3}], kinds) if "Dice" in panel.title]
    assert panel.curves == {"lung": [(2, 0.5), (3, 0.5)]}
    draw_curves([loss, dev, rates], tmp_path / "curves.png", kinds)
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 100
