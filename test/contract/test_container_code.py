"""What the container's code must not do, checked in its source."""

import ast

import pytest

FORBIDDEN = {
    "pickle", "marshal", "shelve", "torch", "torchvision", "timm", "safetensors", "pip", "subprocess",
    "multiprocessing", "socket", "urllib", "http", "requests", "huggingface_hub", "getpass", "pwd", "cv2", "pandas",
}  # fmt: skip
CALLS = {"expanduser", "home", "eval", "exec", "system", "popen", "cpu_count", "shell"}
ALLOWED = {("child.py", "subprocess")}  # its child, which decodes what may kill it; test_isolation.py watches it
AWARE = {("limits.py", "cpu_count")}  # beside the affinity mask and the quota, where there is no mask


@pytest.fixture(scope="module")
def trees(repository):
    files = [repository / "inference.py", repository / "docker" / "entrypoint.py"]
    files += (repository / "challenge").rglob("*.py")
    files += (repository / "model" / "frozen").rglob("*.py")
    return {path: ast.parse(path.read_text("utf-8")) for path in files}


def test_it_imports_no_pickle_no_network_no_process_and_no_installer(trees):
    found = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [(path.name, name) for name in names if name.partition(".")[0] in FORBIDDEN]
    assert set(found) == ALLOWED


def test_it_never_asks_for_home_shell_or_the_hosts_processors(trees):
    found = []
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                found += [(path.name, name)] if name in CALLS and (path.name, name) not in AWARE else []
    assert found == []
