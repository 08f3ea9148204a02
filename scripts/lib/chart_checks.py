"""The chart's checks: real Helm renders it, and what comes out is held to rules. Runs with the modules of tools.chart_modules.

Each check returns sentences about what is wrong. All of them run, so that one run says everything.
"""

from __future__ import annotations

import copy
import functools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import kubernetes_validate

from lib import chart_fuzz, chart_rules as rules, places, ui
from lib.chart_refused import REFUSED
from lib.chart_render import (
    CHART, KUBERNETES, NEWEST, OLDEST, Helm, Refused, all_values, ci_values, in_parallel, kustomize, merged, read,
)

# Kinds that are not Kubernetes' own: their schemas come with whatever brings them.
FOREIGN = {"GRPCRoute", "HTTPRoute", "PrometheusRule", "ServiceMonitor", "Cluster", "ScheduledBackup", "ObjectStore", "Pooler", "PodMonitor"}
LONG_RELEASE = "a-release-name-that-is-as-long-as-helm-lets-it-be-53c"
SEEDS = range(16)
OVERLAYS = ("dev", "prod")


class Checks:
    def __init__(self) -> None:
        self.helm = Helm()
        self.minimal = ci_values()["minimal"]

    @functools.cached_property
    def rendered(self) -> dict[tuple[str, str], list[dict]]:
        """Every file of values, for the oldest and the newest Kubernetes."""
        keys = [(name, version) for name in all_values() for version in (OLDEST, NEWEST)]
        found = in_parallel(lambda key: self.helm.render(all_values()[key[0]], version=key[1]), keys)
        return dict(zip(keys, found))

    @functools.cached_property
    def built(self) -> dict[str, list[dict]]:
        return {name: kustomize(KUBERNETES / name) for name in OVERLAYS}

    @functools.cached_property
    def everything(self) -> dict[str, list[dict]]:
        return {
            **{f"{name} on {version}": things for (name, version), things in self.rendered.items()},
            **{f"k8s/{name}": things for name, things in self.built.items()},
        }

    def of_all(self, rule) -> list[str]:
        return [f"{where}: {problem}" for where, things in self.everything.items() for problem in rule(things)]

    def of_services(self, rule) -> list[str]:
        return [
            f"{name}: {problem}"
            for name, values in all_values().items()
            for problem in rule(self.rendered[name, NEWEST], merged(values))
        ]

    # What is written.

    def lint(self) -> list[str]:
        def one(values: Path) -> list[str]:
            try:
                self.helm.run("lint", "--strict", CHART, "--values", values)
                return []
            except Refused as refused:
                return [f"{values.name}: {refused}"]

        return sum(in_parallel(one, all_values().values()), [])

    def schema_is_closed(self) -> list[str]:
        return rules.open_objects(json.loads((CHART / "values.schema.json").read_text()))

    def templates_are_careful(self) -> list[str]:
        files = [path for path in (CHART / "templates").rglob("*") if path.is_file()]
        return rules.careless_templates({str(path.relative_to(CHART)): path.read_text() for path in files})

    def code_is_met(self) -> list[str]:
        """Variables, subcommands, metrics and their labels that the chart names are the programs' own."""
        sources = [path for folder in (places.ROOT / "services").rglob("src") for path in folder.rglob("*.rs")]
        rust = "\n".join(path.read_text() for path in sources)
        fields, words = set(re.findall(r"\bpub ([a-z0-9_]+): ", rust)), set(re.findall(r'"([a-z]+)"', rust))
        names, commands = set(), set()
        for thing in sum(self.rendered.values(), []):
            for container in (one for _, pod in rules.pods([thing]) for one in pod["containers"] if one["name"] != "health"):
                names.update(variable["name"] for variable in container.get("env", []))
                commands.update(container["args"])
            if thing["kind"] == "ConfigMap" and rules.component_of(thing) != "dashboard":
                names.update(thing["data"])
        problems = [f"no program reads {name}" for name in names if name.rsplit("__", 1)[-1].lower() not in fields]
        problems += [f"no program has the subcommand {command}" for command in commands - words]
        known = re.findall(r'(?:_(?:histogram|gauge|counter)|Figure::new)\(\s*"([a-z_.0-9]+)"', rust) + re.findall(r'KeyValue::new\("([a-z_.]+)"', rust)
        known = {name.replace(".", "_") for name in known}
        for path in (path for path in (CHART / "files").rglob("*") if path.is_file()):
            for name in set(re.findall(r"\b(?:cqm|rpc|db)_[a-z_]+\b", _queries(path))):
                if not {name, re.sub("_seconds$", "", re.sub("_(bucket|count|sum|total)$", "", name))} & known:
                    problems.append(f"{path.name}: no program exports {name}")
        return sorted(problems)

    def alerts_have_runbooks(self) -> list[str]:
        folder = KUBERNETES / "runbooks"
        text = (CHART / "files" / "alerts.yaml").read_text()
        wanted = set(re.findall(r"RUNBOOKS/([a-z-]+\.md)", text))
        problems = [f"no runbook {name}" for name in sorted(wanted) if not (folder / name).exists()]
        problems += [f"no alert leads to {path.name}" for path in folder.glob("*.md") if path.name not in wanted]
        alerts = [alert for group in read(text)[0] for alert in group["rules"]]
        problems += [f"{alert['alert']} has no runbook" for alert in alerts if "runbook_url" not in alert["annotations"]]
        return problems

    # What is rendered.

    def valid(self) -> list[str]:
        """By Kubernetes' own schemas, which know every field and refuse others."""
        problems = []
        for where, things in self.everything.items():
            for thing in things:
                version = where.split(" on ")[1] if " on " in where else NEWEST
                problems += [f"{where}: {problem}" for problem in invalid(thing, version)]
        return problems

    def nothing_is_null(self) -> list[str]:
        return self.of_all(rules.nulls)

    def nothing_is_repeated(self) -> list[str]:
        return self.of_all(rules.repeated)

    def pods_are_restricted(self) -> list[str]:
        return self.of_all(rules.unrestricted)

    def hooks_need_nothing(self) -> list[str]:
        return self.of_all(rules.dependent_hooks)

    def migrations(self) -> list[str]:
        problems = self.of_services(rules.migrations)
        first, later = (rules.of_kind(self.helm.render(self.minimal, *sets), "Job") for sets in ((), ('image.tag="9"',)))
        for name, job in first.items():
            if job["metadata"]["name"] != later[name]["metadata"]["name"]:
                problems.append(f"{rules.name_of(job)}: another version has another name")
        return problems

    def policies_name_the_callers(self) -> list[str]:
        return self.of_services(rules.policies)

    def workloads(self) -> list[str]:
        return self.of_services(rules.workloads)

    def names_are_short(self) -> list[str]:
        problems = self.of_all(rules.too_long)
        names = []
        for release in (LONG_RELEASE, LONG_RELEASE[:-1] + "d"):
            things = self.helm.render(ci_values()["ha"], release=release)
            problems += [f"release {release}: {problem}" for problem in rules.too_long(things)]
            names.append({rules.name_of(thing) for thing in things})
        problems += [f"two releases with long names both render {name}" for name in sorted(names[0] & names[1])]
        return problems

    def notes_lead_somewhere(self) -> list[str]:
        notes = self.helm.notes(self.minimal)
        names = {f"{thing['kind'].lower()}/{thing['metadata']['name']}" for thing in self.rendered["minimal", NEWEST]}
        found = re.findall(r"\b((?:service|deployment)/[a-z0-9-]+)", notes)
        problems = [f"the notes name {name}, which is not there" for name in found if name not in names]
        secrets = {name for thing in self.rendered["minimal", NEWEST] for _, pod in rules.pods([thing])
                   for kind, name in rules.needed_by(pod) if kind == "Secret"}
        problems += [f"the notes do not name the Secret {name}" for name in sorted(secrets) if f"{name}:" not in notes]
        if not found:
            problems.append("the notes hold no calls")
        return problems

    # What values do.

    def refused_with_their_sentence(self) -> list[str]:
        def one(case) -> list[str]:
            sets, words = case
            try:
                self.helm.text(self.minimal, *sets)
                return [f"{', '.join(sets)}: is rendered"]
            except Refused as refused:
                said = rules.sentence(str(refused))
                return [] if words in said else [f"{', '.join(sets)}: Helm says {said!r} and not {words!r}"]

        problems = sum(in_parallel(one, REFUSED), [])
        told = " ".join(words for _, words in REFUSED)
        for text in re.findall(r'fail (?:\(printf )?"([^"]+)"', (CHART / "templates" / "validations.yaml").read_text()):
            # Its longest part without a place holder.
            part = max(text.split("%s"), key=len).strip()
            if part not in told:
                problems.append(f"no case makes the chart say {text!r}")
        return problems

    def overrides_survive(self) -> list[str]:
        """false, 0, "" and large numbers of one service stand over `defaults`."""
        own = {
            "replicas": 0, "drain": {"preStop": 0, "settle": 0}, "podDisruptionBudget": {"enabled": False},
            "migration": {"retries": 0, "env": {"CQM__SERVER__SHARDS": 0}}, "topologySpread": {},
            "env": {"CQM__SERVER__SHARDS": 0, "CQM__SERVER__REFLECTION": False, "CQM__SERVER__STREAM_WINDOW": 33554432,
                    "CQM__TELEMETRY__SAMPLE": 0.0, "CQM__TELEMETRY__FILTER": ""},
        }
        base = {"priorityClassName": "high", "telemetry": {"endpoint": "http://collector:4317"}}
        things = self.helm.render(self.minimal, more={
            "defaults": base, "networkPolicy": {"enabled": False},
            "services": {
                "complaints": {**own, "priorityClassName": "", "telemetry": {"endpoint": ""}},
                "gateway": {"env": {"CQM__SERVICE__BACKENDS__LOYALTY": "http://elsewhere:50051"}},
            },
        })
        deployment, job = rules.of_kind(things, "Deployment")["complaints"], rules.of_kind(things, "Job")["complaints-migrate"]
        pod = deployment["spec"]["template"]["spec"]
        data = rules.of_kind(things, "ConfigMap")["complaints"]["data"]
        other = rules.of_kind(things, "Deployment")["loyalty"]["spec"]["template"]["spec"]
        return [f"{what} is {found!r} instead of {wanted!r}" for what, found, wanted in (
            ("replicas", deployment["spec"]["replicas"], 0),
            ("preStop", pod["containers"][0].get("lifecycle"), None),
            ("settle", data["CQM__SERVER__DRAIN__SETTLE"], "0s"),
            ("timeout", data["CQM__SERVER__DRAIN__TIMEOUT"], "20s"),
            ("the grace", pod["terminationGracePeriodSeconds"], 30),
            ("the budget", "complaints" in rules.of_kind(things, "PodDisruptionBudget"), False),
            ("retries", job["spec"]["backoffLimit"], 0),
            ("a migration's 0", [one["value"] for one in job["spec"]["template"]["spec"]["containers"][0]["env"] if "value" in one], ["0"]),
            ("0", data["CQM__SERVER__SHARDS"], "0"),
            ("false", data["CQM__SERVER__REFLECTION"], "false"),
            ("a large number", data["CQM__SERVER__STREAM_WINDOW"], "33554432"),
            ("0.0", data["CQM__TELEMETRY__SAMPLE"], "0"),
            ("an empty text", data["CQM__TELEMETRY__FILTER"], ""),
            ("an empty text over one", data["CQM__TELEMETRY__OTLP_ENDPOINT"], ""),
            ("an empty class over one", pod.get("priorityClassName"), None),
            ("the others' class", other.get("priorityClassName"), "high"),
            ("an address that the chart knows, too",
             rules.of_kind(things, "ConfigMap")["gateway"]["data"]["CQM__SERVICE__BACKENDS__LOYALTY"], "http://elsewhere:50051"),
            ("networkPolicy.enabled", len(rules.of_kind(things, "NetworkPolicy")), 0),
        ) if found != wanted]

    def disabled_renders_nothing(self) -> list[str]:
        def one(name: str) -> list[str]:
            more = {"services": {name: {"enabled": False}}}
            if name == "gateway":
                more["expose"] = {"grpcRoute": {"enabled": False}}
            things = [thing for thing in self.helm.render(ci_values()["ha"], more=more)
                      if thing["kind"] not in ("PrometheusRule",) and rules.component_of(thing) != "dashboard"]
            # The coordinator runs the gateway's image.
            things = json.loads(json.dumps(things).replace("/cqm-gateway:", "/image:"))
            return [f"{name} is disabled: {problem}" for problem in rules.traces_of(name, things)]

        return sum(in_parallel(one, merged(self.minimal)), [])

    def hard_values_survive(self) -> list[str]:
        """Values that YAML could take for something else come out as what they are."""
        schema = json.loads((CHART / "values.schema.json").read_text())
        return sum(in_parallel(lambda seed: self._hard(schema, seed), SEEDS), [])

    def _hard(self, schema: dict, seed: int) -> list[str]:
        drawn = chart_fuzz.without_nothing(chart_fuzz.Draw(schema, seed).values())
        values = chart_fuzz.allowed(drawn)
        try:
            things = self.helm.render(self.minimal, more=values, release=("12", "1e3", "true", "null")[seed % 4])
        except (Refused, ui.Failure, ValueError) as error:
            return [f"seed {seed}: {rules.sentence(str(error))}"]
        problems = [problem for thing in things for version in (OLDEST, NEWEST) for problem in invalid(thing, version)]
        problems += rules.nulls(things) + rules.repeated(things) + rules.unrestricted(things)
        services = merged(self.minimal, values)
        problems += rules.policies(things, services) if values["networkPolicy"]["enabled"] else []
        problems += self._kept(things, services)
        return [f"seed {seed}: {problem}" for problem in sorted(set(problems))]

    @staticmethod
    def _kept(things: list[dict], services: dict) -> list[str]:
        """Free texts are what they were, to the character."""
        problems = []
        for name, service in services.items():
            data = rules.of_kind(things, "ConfigMap")[name]["data"]
            annotations = rules.of_kind(things, "Deployment")[name]["spec"]["template"]["metadata"]["annotations"]
            for kind, wanted, found in (("env", service["env"], data), ("podAnnotations", service["podAnnotations"], annotations)):
                for key, value in wanted.items():
                    text = value if isinstance(value, str) else json.dumps(value)
                    same = found.get(key) == text or not isinstance(value, str) and float(found[key]) == float(value)
                    if not same:
                        problems.append(f"{name}: {kind} {key} is {found.get(key)!r} instead of {text!r}")
        return problems

    # What a scanner says, and what the cluster gets beside the chart.

    def scanner(self) -> list[str]:
        """checkov: what fails is explained in charts/checkov.yaml, and what is explained there fails."""
        explained, reasonless = rules.explained((places.ROOT / "charts" / "checkov.yaml").read_text())
        with tempfile.TemporaryDirectory(prefix="cqm-checkov-") as folder:
            for where, things in self.everything.items():
                if where.endswith(OLDEST):
                    continue
                for thing in things:
                    # Helm and kustomize put everything into the release's namespace; the files do not say so.
                    thing = copy.deepcopy(thing)
                    thing["metadata"].setdefault("namespace", "cqm")
                    name = f"{where}-{thing['kind']}-{thing['metadata']['name']}.json".replace("/", "-").replace(" ", "-")
                    Path(folder, name).write_text(json.dumps(thing))
            answer = subprocess.run(
                [sys.executable, "-B", "-m", "checkov.main", "--skip-download", "--framework", "kubernetes", "--directory", folder,
                 "--compact", "--quiet", "--output", "json"],
                env={**os.environ, "LOG_LEVEL": "ERROR"}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            )
        try:
            results = json.loads(answer.stdout)["results"]
        except (ValueError, KeyError, TypeError):
            return [f"checkov says nothing readable: {answer.stderr.strip()[-500:]} {answer.stdout[-500:]}"]
        failed: dict[str, str] = {}
        for one in results["failed_checks"]:
            failed.setdefault(one["check_id"], f"{one['check_name']} ({one['resource']})")
        problems = [f"charts/checkov.yaml gives no reason for {check}" for check in reasonless]
        problems += [f"{check}: {what}" for check, what in sorted(failed.items()) if check not in explained]
        return problems + [
            f"charts/checkov.yaml explains {check}, which does not fail" for check in sorted(explained - set(failed))
        ]

    def environments(self) -> list[str]:
        """k8s/ holds what the chart must not: no workload of the suite, and the Secrets that the values name are explained."""
        problems = []
        text = (KUBERNETES / "README.md").read_text()
        for name, things in self.built.items():
            if not things:
                problems.append(f"k8s/{name} builds nothing")
            for owner, pod in rules.pods(things):
                problems += [f"k8s/{name}: {owner} is a second copy of a workload" for one in pod["containers"] if "/cqm-" in one["image"]]
            namespaces = [thing["metadata"] for thing in things if thing["kind"] == "Namespace"]
            levels = [one.get("labels", {}).get("pod-security.kubernetes.io/enforce") for one in namespaces]
            if levels != ["restricted"]:
                problems.append(f"k8s/{name}: its namespace does not enforce `restricted`")
            clusters = {thing["metadata"]["name"] for thing in things if thing["kind"] == "Cluster"}
            owners = {f"cqm-{service}" for service, one in merged(self.minimal).items() if one["database"]["enabled"]}
            if clusters != owners:
                problems.append(f"k8s/{name}: databases {sorted(clusters)} instead of {sorted(owners)}")
            needed = {need for thing in self.rendered[name, NEWEST] for _, pod in rules.pods([thing]) for need in rules.needed_by(pod)}
            for _, secret in sorted(need for need in needed if need[0] == "Secret"):
                spelled = re.sub(r"^cqm-.*-(serving|migrating)$", "cqm-$service-$use", secret)
                spelled = re.sub(r"^cqm-.*-ca$", "cqm-SERVICE-ca", spelled)
                if spelled not in text:
                    problems.append(f"k8s/README.md does not say how {secret} is made")
        return problems


def invalid(thing: dict, version: str) -> list[str]:
    if thing["kind"] in FOREIGN:
        return []
    try:
        kubernetes_validate.validate(thing, version, strict=True)
        return []
    except Exception as error:  # The module's errors have no common base.
        path = ".".join(map(str, getattr(error, "path", []) or []))
        return [f"{rules.name_of(thing)} is not valid for {version}: {path} {getattr(error, 'message', error)}"]


def _queries(path: Path) -> str:
    text = path.read_text()
    if path.suffix == ".json":
        return "\n".join(target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"])
    return "\n".join(alert["expr"] for group in read(text)[0] for alert in group["rules"])


CHECKS = (
    ("helm lint --strict", Checks.lint),
    ("the schema refuses what it does not name", Checks.schema_is_closed),
    ("templates use no function that swallows values", Checks.templates_are_careful),
    ("variables, subcommands and metrics are the programs'", Checks.code_is_met),
    ("every alert has a runbook", Checks.alerts_have_runbooks),
    (f"valid for Kubernetes {OLDEST} and {NEWEST}", Checks.valid),
    ("nothing is null", Checks.nothing_is_null),
    ("nothing is rendered twice", Checks.nothing_is_repeated),
    ("every pod is restricted", Checks.pods_are_restricted),
    ("hooks need nothing of the release", Checks.hooks_need_nothing),
    ("a migration for each database", Checks.migrations),
    ("policies name exactly the callers", Checks.policies_name_the_callers),
    ("replicas, budgets, probes and drains", Checks.workloads),
    ("names stay within 63 characters", Checks.names_are_short),
    ("the notes' calls lead somewhere", Checks.notes_lead_somewhere),
    ("bad values are refused with their sentence", Checks.refused_with_their_sentence),
    ("false and 0 survive", Checks.overrides_survive),
    ("a disabled service renders nothing", Checks.disabled_renders_nothing),
    ("hard values survive", Checks.hard_values_survive),
    ("checkov, with every exception explained", Checks.scanner),
    ("k8s/ builds and holds no second copy", Checks.environments),
)


def main() -> int:
    checks, wrong = Checks(), 0
    for title, check in CHECKS:
        begin = time.monotonic()
        try:
            problems = check(checks)
        except Refused as refused:
            problems = [rules.sentence(str(refused))]
        wrong += len(problems)
        print(f"    {'ok' if not problems else 'WRONG':<6} {title} ({ui.seconds(time.monotonic() - begin)})", flush=True)
        for problem in problems[:20]:
            print(f"           {problem}", flush=True)
        if len(problems) > 20:
            print(f"           and {len(problems) - 20} more", flush=True)
    if wrong:
        raise ui.Failure(f"the chart: {wrong} things are wrong")
    return 0


if __name__ == "__main__":
    sys.exit(ui.guarded(lambda _: main(), []))
