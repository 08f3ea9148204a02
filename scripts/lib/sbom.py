"""The bill of materials of a program: CycloneDX, from what cargo has resolved and what the program loads."""

from __future__ import annotations

import json
import re
import subprocess
import uuid
from pathlib import Path

from lib import places, tools, ui

NAMESPACE = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


def of(package: str, created: str, libraries: list[Path]) -> dict:
    answer = subprocess.run(
        [tools.cargo(), "metadata", "--locked", "--offline", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"],
        cwd=places.ROOT, env=tools.cargo_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )
    if answer.returncode:
        raise ui.Failure(f"cargo cannot tell what {package} is made of:\n{answer.stderr.strip()}")
    return bill(package, json.loads(answer.stdout), checksums((places.ROOT / "Cargo.lock").read_text()), created,
                [_debian(library) for library in libraries])


def bill(package: str, metadata: dict, digests: dict, created: str, loaded: list[dict]) -> dict:
    """The document: the program, every crate that is linked into it, and the libraries beside it."""
    packages = {one["id"]: one for one in metadata["packages"]}
    links = {
        node["id"]: sorted(link["pkg"] for link in node["deps"] if any(kind["kind"] is None for kind in link["dep_kinds"]))
        for node in metadata["resolve"]["nodes"]
    }
    root = next(one["id"] for one in metadata["packages"] if one["name"] == package)
    seen, left = {root}, [root]
    while left:
        for link in links[left.pop()]:
            if link not in seen:
                seen.add(link)
                left.append(link)
    references = {one: _reference(packages[one]) for one in seen}
    components = sorted((_component(packages[one], digests) for one in seen - {root}), key=lambda one: one["bom-ref"])
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": created,
            "component": {**_component(packages[root], digests), "type": "application"},
        },
        "components": components + sorted(loaded, key=lambda one: one["bom-ref"]),
        "dependencies": [
            {"ref": references[one], "dependsOn": sorted(references[link] for link in links[one])}
            for one in sorted(seen, key=references.get)
        ],
    }
    # Not random: two builds of the same are the same.
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(NAMESPACE, json.dumps(document, sort_keys=True))}"
    return document


def checksums(lock: str) -> dict:
    """SHA-256 by name and version, of the crates that come from a registry."""
    found = re.findall(r'\[\[package\]\]\nname = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]{64})"', lock)
    return {(name, version): digest for name, version, digest in found}


def _reference(package: dict) -> str:
    return f"pkg:cargo/{package['name']}@{package['version']}"


def _component(package: dict, digests: dict) -> dict:
    component = {
        "type": "library", "bom-ref": _reference(package), "purl": _reference(package),
        "name": package["name"], "version": package["version"],
    }
    if package.get("license"):
        # Some crates still write MIT/Apache-2.0, which SPDX no longer does.
        component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    digest = digests.get((package["name"], package["version"]))
    if digest:
        component["hashes"] = [{"alg": "SHA-256", "content": digest}]
    return component


def _debian(library: Path) -> dict:
    """By the package that it belongs to, where the machine knows it."""
    # Before the merge of /lib into /usr/lib, packages name the one and the loader finds the other.
    for path in (library, library.resolve(), Path("/usr") / library.relative_to("/")):
        try:
            owner = subprocess.run(["dpkg-query", "--search", path], capture_output=True, text=True)
        except OSError:
            break
        if owner.returncode == 0:
            name = owner.stdout.split(":", 1)[0]
            asked = subprocess.run(["dpkg-query", "--show", "--showformat", "${Version}", name], capture_output=True, text=True)
            version = asked.stdout.strip()
            reference = f"pkg:deb/debian/{name}@{version}#{library.name}"
            return {"type": "library", "bom-ref": reference, "purl": reference, "name": library.name, "version": version}
    return {"type": "library", "bom-ref": f"file:{library.name}", "name": library.name}
