"""Damaged or incomplete weights: exit code 2, one sentence that names the file, and no output folder."""

import json
import shutil

import pytest

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"


@pytest.fixture
def weights(tiny_weights, tmp_path):
    return shutil.copytree(tiny_weights, tmp_path / "weights")


def edit(folder, change):
    table = json.loads((folder / "weights.json").read_text("utf-8"))
    change(table)
    (folder / "weights.json").write_text(json.dumps(table), "utf-8")


def cut(path, share=0.5):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


FAULTS = {
    "no folder": (lambda w: shutil.rmtree(w), "there is no"),
    "an empty folder": (lambda w: (w / "weights.json").unlink(), "there is no"),
    "LFS pointer": (lambda w: (w / "encoder.onnx").write_bytes(POINTER), "Git LFS pointer"),
    "LFS pointer for the metadata": (lambda w: (w / "weights.json").write_bytes(POINTER), "Git LFS pointer"),
    "truncated graph": (lambda w: cut(w / "encoder.onnx"), "does not match the sha256"),
    "empty graph": (lambda w: cut(w / "encoder.onnx", 0), "does not match the sha256"),
    "truncated metadata": (lambda w: cut(w / "weights.json"), "cannot be read"),
    "one bit": (lambda w: flip(w / "encoder.onnx"), "does not match the sha256"),
    "missing head": (lambda w: (w / "heads" / "organ_cls.onnx").unlink(), "'head.organ_cls' is missing"),
    "newer schema": (lambda w: edit(w, lambda t: t.update(schema=5)), "has schema 5"),
    "no schema": (lambda w: edit(w, lambda t: t.pop("schema")), "has schema None"),
    "a list": (lambda w: (w / "weights.json").write_text("[]"), "has schema None"),
    "a graph elsewhere": (lambda w: edit(w, lambda t: t["graphs"]["encoder"].update(file="../encoder.onnx")),
                          "outside the weights folder"),
    "a path through nothing": (lambda w: edit(w, lambda t: t["tasks"]["lung"].update(path=["encoder", "x"])),
                               "the path of 'lung' breaks at 'x'"),
    "a tasks table of text": (lambda w: edit(w, lambda t: t.update(tasks="all")), "incomplete or malformed"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_unusable_weights(data, call, weights, tmp_path, fault):
    damage, sentence = FAULTS[fault]
    damage(weights)
    ended = call(data.root, weights=weights)
    assert ended.code == 2
    assert sentence in ended.last_line
    assert str(weights) in ended.last_line or fault in ("missing head", "a graph elsewhere")
    assert (ended.report["status"], ended.report["exit_code"]) == ("failed", 2)
    assert not (tmp_path / "out").exists()


def test_a_graph_that_matches_its_hash_but_is_none(data, call, weights):
    import hashlib

    (weights / "encoder.onnx").write_bytes(b"nothing")
    edit(weights, lambda t: t["graphs"]["encoder"].update(sha256=hashlib.sha256(b"nothing").hexdigest()))
    ended = call(data.root, weights=weights)
    assert ended.code == 2
    assert ended.last_line.startswith(f"onnxruntime cannot load {weights / 'encoder.onnx'}")


def test_a_task_that_the_weights_do_not_have_costs_its_own_rows(data, call, weights, untouched):
    edit(weights, lambda t: t["tasks"].pop("organ_cls"))
    ended = call(data.root, "--strict", weights=weights)
    assert ended.code == 3
    assert ended.fallbacks == {"good.csv, line 3": "the weights have no task 'organ_cls'"}
    key = ("../images/good 0.png", "organ_cls")
    assert ended.answers[key]["predicted_probs"] == [1 / 6] * 6
    assert ended.answers | {key: untouched[key]} == untouched
