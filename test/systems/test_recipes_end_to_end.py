"""Recipes from their first steps to the answers of `inference.py`, at their own sizes."""

import pytest

from bench.recipes import PUBLISHED, measure, table
from bench.rows import write_phantoms

OTHERS = ("mh_mtl_official", "perceptguide")
ONE_GPU = ("atlas_gpu", "atlas_gpu_dinov3", "atlas_gpu_efficientnetv2")


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, truth=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", [*PUBLISHED, *OTHERS, *ONE_GPU])
def test_a_recipe_trains_exports_and_answers_all_tasks_strictly(name, phantoms, repository, tmp_path):
    row = measure(repository / "training" / "configs" / f"{name}.toml", phantoms, 2, tmp_path)
    assert row.name == name
    assert row.rows == 88  # of all 27 tasks; --strict ends with an error if one has no answer
    assert row.training_mib > 0
    assert f"| `{name}` | {row.image_size} | 2 |" in table([row])
