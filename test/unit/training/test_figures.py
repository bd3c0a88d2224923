"""Names are drawn literally, even if they look like a formula."""

import io

import numpy as np
import pytest
from PIL import Image

from training.figures import literal, new_figure
from training.run_folder.run_report import draw_curves
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
    scores = {SPECIFIC: 0.5, GROUPED: 0.6, UNIFIED: 0.4}
    draw_comparisons(
        [TaskComparison(name, "segmentation", "other", 3, scores) for name in NAMES], tmp_path / "bars.png"
    )
    for name in ("curves.png", "bars.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 100
