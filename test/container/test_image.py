"""What is in the image, and what is not."""

import gzip
import json
import re
import tarfile

import pytest

LARGEST_CPU_BYTES = 1_100_000_000


@pytest.fixture(scope="module")
def in_image(engine, image):
    def run(*command):
        return engine.run(engine.command, "run", "--rm", "--network", "none", "--entrypoint", command[0], image,
                          *command[1:]).stdout  # fmt: skip

    return run


def locked(repository):
    return dict(re.findall(r"^([\w-]+)==(\S+)", (repository / "docker" / "cpu.lock").read_text(), re.MULTILINE))


def test_build_prints_the_size_and_it_is_small(build_log, engine, image):
    size = int(re.search(r"image \S+: (\d+) bytes", build_log)[1])
    assert size == engine.inspect(image)["Size"]
    assert 100_000_000 < size <= LARGEST_CPU_BYTES


def test_image_states_user_entry_point_and_origin(engine, image):
    described = engine.inspect(image)
    assert (described["Os"], described["Architecture"]) == ("linux", "amd64")
    config = described["Config"]
    assert config["User"] == "0:0"
    assert config["Entrypoint"] == ["python3", "/opt/app/entrypoint.py"]
    assert {"version", "revision", "licenses"} <= {label.rpartition(".")[2] for label in config["Labels"]}
    names = {line.partition("=")[0] for line in config["Env"]}
    assert {"HOME", "OPENBLAS_NUM_THREADS", "PYTHONUNBUFFERED", "FMC_UIA_STEP_DOWN"} <= names
    assert not [name for name in names if name.startswith("PIP_") or name.lower().endswith("_proxy")]


def test_packages_are_exactly_those_of_the_lock(in_image, repository):
    listing = "import importlib.metadata as m, json; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    installed = {name.lower(): version for name, version in json.loads(in_image("python3", "-c", listing)).items()}
    assert installed == locked(repository)


def test_any_user_can_read_all_and_none_can_write(in_image):
    assert in_image("find", "/opt", "!", "-type", "l", "(", "!", "-perm", "-o=r", "-o", "-perm", "/o=w", ")") == ""


def test_no_training_code_tests_or_caches_are_in_the_image(in_image):
    names = set(in_image("ls", "-A", "/opt/app").split())
    assert names == {"challenge", "entrypoint.py", "inference.py", "LICENSE", "model", "sbom.cdx.json", "weights"}
    assert in_image("ls", "/opt/app/model").split() == ["__init__.py", "frozen"]


def test_openvino_runs_without_its_telemetry(in_image):
    assert in_image("python3", "-c", "import openvino; print(openvino.Core().available_devices)").strip() == "['CPU']"


def test_bill_of_materials_lists_packages_system_and_weights(in_image, repository):
    document = json.loads(in_image("cat", "/opt/app/sbom.cdx.json"))
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    parts = document["components"]
    purls = [part["purl"] for part in parts if "purl" in part]
    python = {part["name"]: part["version"] for part in parts if part.get("purl", "").startswith("pkg:pypi/")}
    assert python == locked(repository)
    assert any(purl.startswith("pkg:deb/debian/libc6@") for purl in purls)
    references = [part["bom-ref"] for part in parts]
    assert len(references) == len(set(references))
    weights = json.loads((repository / "weights" / "weights.json").read_text())
    hashes = {part["name"]: part["hashes"][0]["content"] for part in parts if part["type"] == "file"}
    for graph in weights["graphs"].values():
        assert hashes[f"weights/{graph['file']}"] == graph["sha256"]


def test_save_writes_an_archive_and_the_bill_beside_it(engine, image, scratch):
    archive, bill = scratch / "saved.tar.gz", scratch / "saved.cdx.json"
    printed = engine.run("docker/do_save.sh", archive, IMAGE=image, COMPRESS="gzip -1").stdout
    assert str(archive.stat().st_size) in printed
    assert json.loads(bill.read_text())["bomFormat"] == "CycloneDX"
    with gzip.open(archive) as raw, tarfile.open(fileobj=raw) as saved:
        assert "manifest.json" in saved.getnames()
