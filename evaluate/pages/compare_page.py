"""A comparison of results as one self-contained HTML page."""

from evaluate.pages.environment import make_environment
from evaluate.scores.compare import Comparison
from evaluate.scores.compare_text import difference_text, explained, p_text


def to_html(comparison: Comparison) -> str:
    """Return the comparison as one self-contained page."""
    return (
        make_environment()
        .get_template("compare.html.j2")
        .render(
            comparison=comparison,
            sentences=list(explained(comparison)),
            difference_text=difference_text,
            p_text=p_text,
        )
    )
