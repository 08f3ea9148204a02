"""Helm and kustomize, and what they print as objects. Needs PyYAML, which the chart's checks bring."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Optional

import yaml

from lib import chart_rules as rules, places, tools, ui

CHART = places.ROOT / "charts" / "cqm"
KUBERNETES = places.ROOT / "k8s"
OLDEST, NEWEST = "1.30", "1.37"
RELEASE, NAMESPACE = "care", "cqm"


class Refused(Exception):
    """Helm would not render; the text is what it said."""


class _Strict(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Reads as Kubernetes does, and refuses a key that stands twice: the second one would silently win."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise ui.Failure(f"the key {key} stands twice, line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


_Strict.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, lambda loader, node: loader.construct_mapping(node, deep=True)
)
# Go takes 1e3 and 0o17 for numbers, which PyYAML takes for texts; and << and = for texts, where PyYAML wants more of them.
_Strict.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)
_Strict.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^0o[0-7]+$"), ["0"])
for _tag in ("merge", "value"):
    _Strict.add_constructor(f"tag:yaml.org,2002:{_tag}", lambda loader, node: loader.construct_scalar(node))


def read(text: str) -> list[dict]:
    return [thing for thing in yaml.load_all(text, Loader=_Strict) if thing is not None]


def read_file(path: Path) -> dict:
    return read(path.read_text())[0]


def ci_values() -> dict[str, Path]:
    return {path.name.replace("-values.yaml", ""): path for path in sorted((CHART / "ci").glob("*-values.yaml"))}


def all_values() -> dict[str, Path]:
    """Those of the chart's own and of the environments."""
    return {**ci_values(), **{path.parent.name: path for path in sorted(KUBERNETES.glob("*/values.yaml"))}}


class Helm:
    def __init__(self) -> None:
        self.program = tools.helm()
        # Helm looks for its plug-ins and writes caches under the home.
        self._home = tempfile.TemporaryDirectory(prefix="cqm-helm-")

    def run(self, *arguments) -> str:
        home = self._home.name
        answer = subprocess.run(
            [str(self.program), *map(str, arguments)],
            env={"HOME": home, "PATH": "/usr/bin:/bin", "HELM_CACHE_HOME": home, "HELM_CONFIG_HOME": home, "HELM_DATA_HOME": home},
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
        if answer.returncode:
            raise Refused(answer.stderr + answer.stdout)
        return answer.stdout

    def text(self, values: Path, *sets: str, version: str = NEWEST, release: str = RELEASE, more: Optional[dict] = None) -> str:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml", prefix="cqm-values-") as over:
            json.dump(more or {}, over, ensure_ascii=False)
            over.flush()
            options = [option for text in sets for option in ("--set-json", text)]
            return self.run(
                "template", release, CHART, "--namespace", NAMESPACE, "--kube-version", f"{version}.0",
                "--values", values, "--values", over.name, *options,
            )

    def render(self, values: Path, *sets: str, **options) -> list[dict]:
        return read(self.text(values, *sets, **options))

    def notes(self, values: Path) -> str:
        """What an installation would say; nothing is installed and no cluster is asked."""
        answer = self.run("install", RELEASE, CHART, "--namespace", NAMESPACE, "--dry-run=client", "--values", values)
        return answer.split("\nNOTES:\n", 1)[1]


def merged(values: Path, *overlays: dict) -> dict:
    """The services that are enabled as the chart should see them. A second reading of the rule, to hold the chart to."""
    whole = rules.over(read_file(CHART / "values.yaml"), read_file(values), *overlays)
    services = {name: rules.over(whole["defaults"], own) for name, own in whole["services"].items()}
    return {name: service for name, service in services.items() if service["enabled"]}


def kustomize(folder: Path) -> list[dict]:
    answer = subprocess.run([str(tools.kubectl()), "kustomize", str(folder)], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if answer.returncode:
        raise ui.Failure(f"kustomize cannot build {folder.name}:\n{answer.stderr.strip()}")
    return read(answer.stdout)


def in_parallel(work, items) -> list:
    """Rendering waits for Helm's process: two at a time keep two cores busy."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(work, items))
