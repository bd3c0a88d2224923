"""Rules that no linter checks: short files, few modules per folder, few modules that take the whole recipe."""

import ast
import tomllib
from collections import Counter

import pytest

PACKAGES = ("challenge", "model", "evaluate", "training", "bench")
MOST_LINES, MOST_MODULES, MOST_WITH_CONFIG = 400, 16, 15


@pytest.fixture(scope="module")
def modules(repository):
    files = [repository / "inference.py", *(path for name in PACKAGES for path in (repository / name).rglob("*.py"))]
    return {path.relative_to(repository): path.read_text("utf-8") for path in files}


def test_no_file_is_long(modules):
    long = {str(path): text.count("\n") for path, text in modules.items() if text.count("\n") > MOST_LINES}
    assert long == {}


def test_no_folder_has_too_many_modules(modules):
    count = Counter(path.parent for path in modules if path.name != "__init__.py")
    assert {str(folder): number for folder, number in count.items() if number > MOST_MODULES} == {}


def test_the_order_of_the_folders_is_a_contract(repository):
    """`model` has two wings that do not know each other, which is a contract of another type."""
    contracts = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    ordered = {name for contract in contracts if contract["type"] == "layers" for name in contract["containers"]}
    inner = [path.parent for name in PACKAGES for path in (repository / name).glob("*/**/__init__.py")]
    assert {".".join(folder.relative_to(repository).parts[:-1]) for folder in inner} - ordered == {"model"}


def test_few_modules_take_the_whole_recipe(modules):
    """A module that needs one section of the recipe gets only that section."""
    found = sorted(str(path) for path, text in modules.items() if takes_config(ast.parse(text)))
    print(f"{len(found)} modules name the whole Config in a signature: {', '.join(found)}")
    assert 0 < len(found) <= MOST_WITH_CONFIG


def takes_config(tree):
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    notes = [argument.annotation for function in functions
             for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)]  # fmt: skip
    names = [node.id for note in notes if note for node in ast.walk(note) if isinstance(node, ast.Name)]
    return "Config" in names
