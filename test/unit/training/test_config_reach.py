"""Functions get the section of the recipe that they need; few modules take the whole recipe."""

import ast
from pathlib import Path

import training

ROOT = Path(training.__file__).parents[1]
MOST = 15


def takes_config(function):
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    hints = [hint for hint in (function.returns, *(argument.annotation for argument in arguments)) if hint]
    return any(isinstance(node, ast.Name) and node.id == "Config" for hint in hints for node in ast.walk(hint))


def test_few_modules_name_the_whole_config_in_a_signature(capsys):
    modules = []
    for path in sorted(path for name in ("challenge", "model", "training", "evaluate", "bench")
                       for path in (ROOT / name).rglob("*.py")):  # fmt: skip
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        if any(isinstance(node, ast.FunctionDef) and takes_config(node) for node in nodes):
            modules.append(path.relative_to(ROOT).as_posix())
    with capsys.disabled():
        print(f"\n{len(modules)} modules name the whole Config in a signature: {', '.join(modules)}")
    assert len(modules) <= MOST
