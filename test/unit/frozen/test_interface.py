"""`Model` is the same class in every module, and importing the package alone loads nothing."""

import subprocess
import sys

import pytest


def test_both_modules_hand_out_one_class():
    import inference
    import model

    assert model.Model is inference.Model
    with pytest.raises(AttributeError, match="no attribute 'Modell'"):
        model.Modell  # noqa: B018


def test_the_package_loads_no_runtime_before_the_class_is_asked_for(repository):
    code = "import sys, model; print([name for name in ('numpy', 'onnxruntime', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
