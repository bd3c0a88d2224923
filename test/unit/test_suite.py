"""Rules for the tests themselves: endless tests fail, and required tests are not skipped."""

import ast
import os
import subprocess
import sys
import tomllib

import pytest


def run_pytest(repository, *arguments, **variables):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, arguments)]
    return subprocess.run(command, cwd=repository, env={**os.environ, **variables}, capture_output=True, text=True,
                          check=False)  # fmt: skip


@pytest.fixture
def endless(tmp_path):
    """A test file: one test waits for ever, one passes, one holds the interpreter."""
    path = tmp_path / "test_endless.py"
    path.write_text(
        "import ctypes, threading\n"
        "def test_waits(): threading.Event().wait()\n"
        "def test_passes(): pass\n"
        "def test_holds(): ctypes.PyDLL(None).sleep(60)\n"
    )
    return path


def test_an_endless_test_fails_and_the_others_run(repository, endless):
    done = run_pytest(repository, "-c", "pyproject.toml", "-o", "timeout=1", "-k", "waits or passes", endless)
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed" in done.stdout
    assert "Timeout" in done.stdout


def test_endless_native_code_ends_the_process(repository, endless):
    done = run_pytest(repository, "-c", "pyproject.toml", "-o", "faulthandler_timeout=2", "-k", "holds", endless)
    assert done.returncode != 0
    assert "in test_holds" in done.stderr


@pytest.mark.parametrize(("names", "code"), [("", 0), ("ray,browser", 0), ("data,ray", 1), ("date", 4)])
def test_a_skipped_test_fails_if_what_it_needs_is_required(repository, tmp_path, names, code):
    test = "test/unit/challenge/test_manifest.py::test_real_data"
    done = run_pytest(repository, test, FMC_UIA_DATA=str(tmp_path), FMC_UIA_REQUIRE=names)
    assert done.returncode == code, done.stdout
    assert ("1 skipped" in done.stdout) is (code == 0)


def test_a_skipped_file_fails_if_anything_is_required(repository, tmp_path):
    (tmp_path / "test_absent.py").write_text("import pytest\npytest.importorskip('no_such_package')\n")
    (tmp_path / "conftest.py").write_bytes((repository / "test" / "conftest.py").read_bytes())
    for names, code in (("", 5), ("browser", 2)):
        done = run_pytest(repository, "-c", "pyproject.toml", tmp_path / "test_absent.py", FMC_UIA_REQUIRE=names)
        assert done.returncode == code, done.stdout


def test_the_planted_faults_fit_the_code(repository):
    """`make mutants` plants them. Here it is enough that each fault still has its place and its tests."""
    table = tomllib.loads((repository / "test" / "mutants" / "table.toml").read_text("utf-8"))
    assert len(table) > 50
    for name, fault in table.items():
        assert (repository / fault["file"]).read_text("utf-8").count(fault["old"]) == 1, name
        assert fault["new"] != fault["old"]
        for test in fault["tests"]:
            path, _, function = test.partition("::")
            tree = ast.parse((repository / path).read_text("utf-8"))
            assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{name}: {test}"
