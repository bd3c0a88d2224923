"""The same run on a local Ray cluster of two nodes, one of whose workers is killed: the same bytes, nothing lost."""

import os
import signal
import sys
from types import SimpleNamespace

import pytest

from challenge.errors import UserError
from model.frozen.options import Options
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason="Ray is not installed; pip install --requirement requirements-ray.txt")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to Ray's makers
        patch.setenv("RAY_raylet_start_wait_time_s", "100")  # 15 seconds are not enough on a busy machine
        node = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_log_monitor": False}
        try:
            cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
            cluster.add_node(**node)
        except Exception as error:  # whatever Ray raises where its processes may not run
            pytest.skip(f"Ray could not start a cluster of two nodes: {error}")
        yield cluster.address
        cluster.shutdown()


def test_a_killed_worker_loses_nothing(cluster, phantom_folder, tiny_weights, tmp_path):
    run_submission(phantom_folder, tmp_path / "one", Options(tiny_weights, 2), RunReport())
    report, killed = RunReport(), []

    def kill_a_worker():
        """Asked for between answers: never stops the run, but kills a worker once."""
        if report.answered and not killed:
            killed.append(report.device["workers"][0]["pid"])
            os.kill(killed[0], signal.SIGKILL)
        return False

    run_submission(phantom_folder, tmp_path / "ray", Options(tiny_weights, 2, ray=cluster), report, kill_a_worker)
    assert len({worker["pid"] for worker in report.device["workers"]}) == 2
    assert killed
    assert report.answered == report.rows
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")


def test_second_looks_are_the_same_on_a_cluster(cluster, phantom_folder, looking, tmp_path):
    here, there = RunReport(), RunReport()
    run_submission(phantom_folder, tmp_path / "one", Options(looking, precision="float32"), here)
    run_submission(phantom_folder, tmp_path / "ray", Options(looking, precision="float32", ray=cluster), there)
    assert here.second_looks == there.second_looks > 0
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")


def test_soft_masks_and_confidence_are_the_same_on_a_cluster(cluster, phantom_folder, tiny_weights, tmp_path):
    here, there = RunReport(), RunReport()
    tasks = ("lung", "cervix_multi")
    one = Options(tiny_weights, 2, tasks=tasks, soft_masks=tmp_path / "soft")
    run_submission(phantom_folder, tmp_path / "one", one, here)
    many = Options(tiny_weights, 2, tasks=tasks, soft_masks=tmp_path / "soft of ray", ray=cluster)
    run_submission(phantom_folder, tmp_path / "ray", many, there)
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")
    assert contents(tmp_path / "soft of ray") == contents(tmp_path / "soft") != {}
    assert there.to_dict()["confidence"]["lung"]["rows"] == here.to_dict()["confidence"]["lung"]["rows"]


def test_other_weights_on_a_node_are_refused(cluster, phantom_folder, tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setattr("model.frozen.run.submission.verify", lambda *_: "0" * 64)
    with pytest.raises(UserError, match="holds other weights"):
        run_submission(phantom_folder, tmp_path, Options(tiny_weights, ray=cluster), RunReport())


def test_workers_of_different_precision_are_refused(tiny_weights, phantom_folder, tmp_path, monkeypatch):
    """`auto` follows each node's processor; the answers must not."""
    closed = []
    described = [{"device": "cpu", "precision": precision} for precision in ("float32", "bfloat16")]
    cluster = SimpleNamespace(workers=described, close=lambda: closed.append(True))
    monkeypatch.setattr("model.frozen.ray_engine.RayEngine", lambda *_, **__: cluster)
    with pytest.raises(UserError, match="some workers compute in bfloat16, some in float32; name one with --precision"):
        run_submission(phantom_folder, tmp_path / "out", Options(tiny_weights, ray="auto"), RunReport())
    assert closed


def test_without_a_cluster_or_without_ray_the_error_says_what_to_do(
    tiny_weights, phantom_folder, tmp_path, monkeypatch
):
    def connect(**_):
        raise ConnectionError("Could not find any running Ray instance.")

    options = Options(tiny_weights, ray="auto")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=connect))
    with pytest.raises(UserError, match=r"--ray auto: no cluster answers \(Could not .*\); .* 'ray start --head'"):
        run_submission(phantom_folder, tmp_path / "out", options, RunReport())
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"Ray is not installed; pip install --requirement requirements-ray\.txt"):
        run_submission(phantom_folder, tmp_path / "out", options, RunReport())
    assert not (tmp_path / "out").exists()


def test_an_ensemble_is_the_same_on_a_cluster(cluster, phantom_folder, ensemble, tmp_path):
    run_submission(phantom_folder, tmp_path / "one", Options(ensemble, precision="float32"), RunReport())
    run_submission(phantom_folder, tmp_path / "ray", Options(ensemble, precision="float32", ray=cluster), RunReport())
    assert contents(tmp_path / "ray") == contents(tmp_path / "one")
