"""Tables that a command writes into documents, between two comments."""

from pathlib import Path

from challenge.errors import UserError


def replace_table(document: Path, name: str, table: str) -> None:
    """Put `table` between `<!-- bench NAME -->` and `<!-- end -->`. Raises UserError if these comments are missing."""
    begin, end = f"<!-- bench {name} -->\n", "<!-- end -->"
    text = document.read_text("utf-8")
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise UserError(f"{document} lacks the lines {begin.strip()!r} and {end!r}; add them where the table should be")
    document.write_text(f"{before}{begin}\n{table.strip()}\n\n{end}{after}", "utf-8")
