"""What is in a layer, for who has to know by a list: a CycloneDX 1.6 document beside the zip file, and made of that alone.

Packages by their METADATA; in each the shared libraries that its wheel brings along, and what the wheel itself says of their
origin (PEP 770: .dist-info/sboms). Nothing in it tells of time or machine: the same zip file gives the same bytes.
Source: https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import hashlib
import json
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from config.paths import write_private
from config.version import VERSION
from ops.lambdas.package.archive import Artifact

METADATA = ".dist-info/METADATA"
SAID = ".dist-info/sboms/"
"""Where a wheel says what else is in it."""


def ensure(made: Artifact) -> Path:
    """Write the list of what is in a layer beside it, unless it is there; return its path."""
    path = place(made)
    if not path.is_file() or made.sha256 not in path.read_text(encoding="utf-8", errors="replace"):
        write_private(path, text(made))
    return path


def place(made: Artifact) -> Path:
    """Return where the list of a layer lies."""
    return made.path.with_name(made.path.name.removesuffix(".zip") + ".cdx.json")


def text(made: Artifact) -> str:
    """Return the list as JSON, by its schema."""
    with zipfile.ZipFile(made.path) as layer:
        packages = [package(layer, name) for name in made.names if name.endswith(METADATA)]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, made.sha256)}",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "lambda.layer", "version": VERSION}]},
            "component": {
                "type": "file",
                "bom-ref": made.path.name,
                "name": made.path.name,
                "hashes": [{"alg": "SHA-256", "content": made.sha256}],
            },
        },
        "components": packages,
        "dependencies": [
            {"ref": made.path.name, "dependsOn": [each["bom-ref"] for each in packages]},
            *({"ref": each["bom-ref"]} for each in packages),
        ],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def package(layer: zipfile.ZipFile, metadata: str) -> dict[str, Any]:
    """Return a package of a layer as a component, with those in it."""
    from packaging.metadata import parse_email
    from packaging.utils import canonicalize_name

    told, _ = parse_email(layer.read(metadata))
    name, version = told["name"], told["version"]
    purl = f"pkg:pypi/{canonicalize_name(name)}@{version}"
    found: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if expression := told.get("license_expression"):
        found["licenses"] = [{"expression": expression}]
    elif words := told.get("license"):
        found["licenses"] = [{"license": {"name": words.splitlines()[0]}}]
    folder, _, entry = metadata.removesuffix(METADATA).rpartition("/")
    brought = f"{folder}/{entry.rpartition('-')[0]}.libs/"
    said = f"{folder}/{entry}{SAID}"
    inside = [
        *(library(layer, each, purl) for each in layer.namelist() if each.startswith(brought)),
        *(each for place in layer.namelist() if place.startswith(said) for each in origins(layer.read(place), name)),
    ]
    return found | ({"components": inside} if inside else {})


def library(layer: zipfile.ZipFile, path: str, within: str) -> dict[str, Any]:
    """Return a shared library that a wheel brings along."""
    name = path.rpartition("/")[2]
    digest = hashlib.sha256(layer.read(path)).hexdigest()
    return {
        "type": "file",
        "bom-ref": f"{within}#{name}",
        "name": name,
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def origins(document: bytes, package: str) -> Iterator[dict[str, Any]]:
    """Yield what a wheel says that its libraries come from; itself is among them."""
    from packaging.utils import canonicalize_name

    for each in json.loads(document).get("components", []):
        if canonicalize_name(each["name"]) != canonicalize_name(package):
            yield each
