"""Print the bill of materials of the image that this runs in: CycloneDX 1.6, JSON, nothing but the standard library.

Python packages of this environment, Debian packages, the interpreter, and the files of the weights folder given as
the only argument.
"""

import hashlib
import json
import platform
import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import quote

_DPKG = Path("/var/lib/dpkg/status")
_LONGEST_LICENCE_NAME = 64

Component = dict[str, object]


def python_packages() -> Iterator[Component]:
    """Yield the distributions of this environment, with their licence where they state one."""
    for found in sorted(distributions(), key=lambda one: one.name.lower()):
        name = re.sub(r"[-_.]+", "-", found.name).lower()
        yield _component(
            "library", name, found.version, f"pkg:pypi/{name}@{quote(found.version, safe='')}"
        ) | _licences(found)


def _licences(package: Distribution) -> Component:
    fields = package.metadata.json
    if expression := fields.get("license_expression"):
        return {"licenses": [{"expression": expression}]}
    named = str(fields.get("license") or "")
    classified = [line.rpartition(" :: ")[2] for line in fields.get("classifier", []) if line.startswith("License")]
    names = [named] if 0 < len(named) <= _LONGEST_LICENCE_NAME else classified
    return {"licenses": [{"license": {"name": name}} for name in names]} if names else {}


def debian_packages(status: Path = _DPKG) -> Iterator[Component]:
    """Yield what dpkg says is installed; nothing on a base without dpkg."""
    text = status.read_text("utf-8") if status.exists() else ""
    for paragraph in text.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status") == "install ok installed":
            name, version, architecture = fields["Package"], fields["Version"], fields["Architecture"]
            purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?arch={architecture}"
            yield _component("library", name, version, purl)


def weight_files(folder: Path) -> Iterator[Component]:
    """Yield every file of the weights with its SHA-256."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            name = f"weights/{path.relative_to(folder).as_posix()}"
            yield {"type": "file", "bom-ref": name, "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}


def _component(kind: str, name: str, version: str, purl: str) -> Component:
    return {"type": kind, "bom-ref": purl, "name": name, "version": version, "purl": purl}


def bill(weights: Path) -> Component:
    """Return the whole document."""
    python = platform.python_version()
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "bom-ref": "fmc-uia", "name": "fmc-uia"}},
        "components": [
            _component("platform", "cpython", python, f"pkg:generic/cpython@{python}"),
            *python_packages(),
            *debian_packages(),
            *weight_files(weights),
        ],
    }


if __name__ == "__main__":
    json.dump(bill(Path(sys.argv[1])), sys.stdout, indent=1, sort_keys=True)
