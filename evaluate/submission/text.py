"""What `check` found, as plain text for a terminal."""

from challenge.host.console import printable
from evaluate.submission.check import Findings

_PLACES = 5


def check_text(findings: Findings, every: bool = False) -> str:
    """Return one paragraph per problem with the first few places (or `every` one), errors first."""
    lines = []
    for level, problems in (("error", findings.errors), ("warning", findings.warnings)):
        for problem, places in problems.items():
            lines.append(f"{level}: {printable(problem)}" + (f" ({len(places):,} times)" if len(places) > 1 else ""))
            shown = places if every else places[:_PLACES]
            lines += [f"    {printable(place)}" for place in shown]
            if len(shown) < len(places):
                lines.append(f"    ... and {len(places) - len(shown):,} more (--all shows them)")
    return "\n".join(lines)
