"""Names are drawn literally, even if they look like a formula."""

import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from challenge.tasks import TaskKind
from training.figures import distinct, literal, new_figure
from training.run_folder import run_report
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
        [TaskComparison(name, "segmentation", "other", 3, scores, f) for f in (1.0, 0.1) for name in NAMES],
        tmp_path / "bars.png",
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


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn."""
    made = []
    monkeypatch.setattr(run_report, "new_figure", lambda *size: made.append(new_figure(*size)) or made[-1])
    return made


def test_scores_of_one_step_are_bars_and_curves_share_their_axis(tmp_path, figures):
    kinds = dict.fromkeys(NAMES, TaskKind.SEGMENTATION)
    losses = [{"step": step, "loss": dict.fromkeys(NAMES, 0.5), "lr": {"encoder": 1e-3}} for step in (100, 900)]
    dev = {"step": 900, "dev": {name: {"DSC": 0.25} for name in NAMES}, "selection": 0.5}
    draw_curves([*losses, dev], tmp_path / "curves.png", kinds)
    loss, dice, selection, rate = figures[0].axes
    assert [bar.get_width() for bar in dice.patches] == [0.25] * len(NAMES)
    assert {text.get_text() for text in dice.texts} == {"0.25"}
    assert "step 900" in dice.get_xlabel()
    assert len(selection.patches) == 1
    assert len(loss.lines) == len(NAMES)
    assert loss.get_xlim() == rate.get_xlim()
    assert loss.get_xlim()[1] > 900
    draw_curves([*losses, dev | {"step": 100}, dev], tmp_path / "curves.png", kinds)
    dice = figures[1].axes[1]
    assert len(dice.lines) == len(NAMES)
    assert not dice.patches


@pytest.mark.parametrize("kinds", [1, 2])
def test_the_legend_stands_in_the_free_panel_or_beside_all_panels(tmp_path, figures, kinds):
    tasks = {"lung": TaskKind.SEGMENTATION, "FUGC": TaskKind.REGRESSION}
    dev = {"lung": {"DSC": 0.5}} | ({"FUGC": {"MRE": 9.0}} if kinds == 2 else {})
    lines = [
        {"step": step, "loss": {"lung": 0.5}, "dev": dev, "selection": 0.4, "lr": {"encoder": 1e-3}} for step in (1, 2)
    ]
    draw_curves(lines, tmp_path / "curves.png", tasks)
    free = [axes for axes in figures[0].axes if not axes.axison]
    assert len(free) == (kinds == 2)  # five panels leave a place of six free, four leave none
    [legend] = [axes.get_legend() for axes in free] or figures[0].legends
    assert {text.get_text() for text in legend.get_texts()} == set(dev)
