"""The repository's own promises: pins, layout, links between documents."""

import re

import pytest

TOP = ["Dockerfile", "requirements.txt", "inference.py", "model", "weights", "test", "evaluate", "README.md"]
NAMED = ["torch", "torchvision", "timm", "onnxruntime-gpu", "SimpleITK", "pillow", "numpy", "click"]


def pins(path):
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return {line for line in lines if line}


def test_top_level_is_what_users_look_for(repository):
    assert [name for name in TOP if not (repository / name).exists()] == []


def test_inference_requirements_are_those_of_the_whole_project_and_hold_no_torch(repository):
    inference = pins(repository / "requirements-inference.txt")
    report = pins(repository / "requirements-report.txt")
    assert inference | report <= pins(repository / "requirements.txt")
    assert not [pin for pin in inference if pin.startswith(("torch", "timm"))]


def test_every_requirement_is_pinned(repository):
    for name in ("requirements.txt", "requirements-inference.txt", "requirements-dev.txt", "requirements-ray.txt",
                 "requirements-report.txt"):  # fmt: skip
        assert [pin for pin in pins(repository / name) if "==" not in pin] == []
    packages = {pin.split("==")[0] for pin in pins(repository / "requirements.txt")}
    assert [name for name in NAMED if name not in packages] == []


def test_only_one_onnxruntime_per_platform(repository):
    markers = [
        pin.split(";")[1].strip() for pin in pins(repository / "requirements-inference.txt") if "onnxruntime" in pin
    ]
    assert sorted(markers) == [
        'sys_platform != "linux" or platform_machine != "x86_64"',
        'sys_platform == "linux" and platform_machine == "x86_64"',
    ]


def locked(repository, variant):
    """Name -> (version, number of hashes) of one image's lock."""
    text = (repository / "docker" / f"{variant}.lock").read_text()
    blocks = re.findall(r"^([\w-]+)==(\S+)(.*(?:\n    .*)*)", text, re.MULTILINE)
    return {name: (version, block.count("--hash=sha256:")) for name, version, block in blocks}


@pytest.mark.parametrize("variant", ["cpu", "cuda"])
def test_locks_hold_hashes_and_the_pins_of_the_requirements(repository, variant):
    lock = locked(repository, variant)
    assert [name for name, (_, hashes) in lock.items() if not hashes] == []
    shared = [
        pin.split("==")
        for pin in pins(repository / "requirements-inference.txt")
        if not pin.startswith(("onnxruntime", "openvino"))
    ]
    own = [pin.split("==") for pin in pins(repository / "docker" / f"{variant}.in")]
    for name, version in shared + own:
        assert lock[name.split("[")[0].lower()][0] == version
    assert not {"torch", "openvino-telemetry"} & set(lock)


def test_images_agree_in_every_shared_version_and_cuda_is_12(repository):
    cpu, cuda = locked(repository, "cpu"), locked(repository, "cuda")
    assert {name for name in cpu.keys() & cuda.keys() if cpu[name] != cuda[name]} == set()
    outside = next(pin for pin in pins(repository / "requirements-inference.txt") if pin.startswith("openvino"))
    assert outside.partition(";")[0] == f"openvino=={cpu['openvino'][0]}"
    assert cpu["onnxruntime"][0] == cuda["onnxruntime-gpu"][0]
    assert {name for name in cpu.keys() | cuda.keys() if name.startswith("onnxruntime")} == {
        "onnxruntime",
        "onnxruntime-gpu",
    }
    nvidia = [name for name in cuda if name.startswith("nvidia-")]
    assert "nvidia-cudnn-cu12" in nvidia
    assert [name for name in nvidia if not name.endswith("-cu12")] == []


def test_links_between_documents_have_targets(repository):
    pages = [repository / "README.md", repository / "CONTRIBUTING.md", *(repository / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(repository)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_weights_in_git_stay_small(repository):
    if not (repository / "weights" / "weights.json").exists():
        pytest.fail("the repository ships no weights")
    size = sum(path.stat().st_size for path in (repository / "weights").rglob("*") if path.is_file())
    assert size < 60_000_000


def test_scripts_never_expand_an_empty_array(repository):
    """The bash of macOS, 3.2, calls an empty one unset; `${name[@]+"${name[@]}"}` is what it takes."""
    for script in (repository / "docker").glob("*.sh"):
        text = re.sub(r'\$\{(\w+)\[@\]\+"\$\{\1\[@\]\}"\}', "", script.read_text())
        assert re.findall(r"\$\{\w+\[[@*]\]\}", text) == [], script.name
