"""The table of faults in docs/reliability.md: complete, and naming only tests that exist."""

import ast
import re

import pytest

ROW = re.compile(r"^\| (\d+|-) \| (.+?) \| (.+?) \|(.*)\|$")
TEST = re.compile(r"`(test/[^`:]+\.py)(?:::(\w+))?`")
FAULTS = 68


@pytest.fixture(scope="module")
def rows(repository):
    lines = (repository / "docs" / "reliability.md").read_text("utf-8").splitlines()
    return [match.groups() for line in lines if (match := ROW.match(line))]


def test_every_fault_has_a_row(rows):
    assert [int(number) for number, *_ in rows if number != "-"] == list(range(1, FAULTS + 1))


def test_every_row_names_a_test_or_is_struck_out(rows):
    without = [number for number, fault, _, tests in rows
               if not TEST.search(tests) and not re.fullmatch("~~.+~~", fault)]  # fmt: skip
    assert without == []


def test_every_test_that_is_named_exists(rows, repository):
    missing = []
    for number, *_, tests in rows:
        for name, function in TEST.findall(tests):
            functions = defined(repository / name)
            if not functions or (function and function not in functions):
                missing.append((number, name, function))
    assert missing == []


def defined(path):
    if not path.is_file():
        return set()
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}
