"""What must hold for the objects that the chart renders. Pure: objects in, sentences about what is wrong out."""

from __future__ import annotations

import re
from typing import Iterable, Iterator

COMPONENT = "app.kubernetes.io/component"
# The longest that a label's value, and a name that becomes one, may be.
LABEL_LIMIT = 63
PORT = 50051
# /metrics and health, of every process.
ADMIN_PORT = 9464
# Volumes that the Pod Security level `restricted` knows, without those that this chart has no use for.
VOLUMES = {"configMap", "emptyDir", "secret"}
# Beyond the drain, for workers (5 s) and the last telemetry (3 s).
GRACE = 8


def name_of(thing: dict) -> str:
    return f"{thing['kind']} {thing['metadata']['name']}"


def component_of(thing: dict) -> str:
    return thing["metadata"]["labels"][COMPONENT]


def of_kind(things: Iterable[dict], kind: str) -> dict[str, dict]:
    """By component."""
    return {component_of(thing): thing for thing in things if thing["kind"] == kind}


def hooks_of(thing: dict) -> set[str]:
    text = thing["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    return {hook for hook in text.split(",") if hook}


def pods(things: Iterable[dict]) -> Iterator[tuple[str, dict]]:
    """The pod specifications, with the name of the object that each stands in."""
    for thing in things:
        if thing["kind"] == "Pod":
            yield name_of(thing), thing["spec"]
        elif "template" in thing.get("spec", {}) and "spec" in thing["spec"]["template"]:
            yield name_of(thing), thing["spec"]["template"]["spec"]


def leaves(value, path: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def nulls(things: list[dict]) -> list[str]:
    return [f"{name_of(thing)}: {path} is null" for thing in things for path, leaf in leaves(thing) if leaf is None]


def repeated(things: list[dict]) -> list[str]:
    seen: set[tuple] = set()
    problems = []
    for thing in things:
        key = (thing["apiVersion"], thing["kind"], thing["metadata"].get("namespace"), thing["metadata"]["name"])
        if key in seen:
            problems.append(f"{name_of(thing)} is rendered twice")
        seen.add(key)
    return problems


def too_long(things: list[dict]) -> list[str]:
    problems = []
    for thing in things:
        if len(thing["metadata"]["name"]) > LABEL_LIMIT:
            problems.append(f"{name_of(thing)}: the name has {len(thing['metadata']['name'])} characters")
        for path, leaf in leaves(thing["metadata"].get("labels", {})):
            if len(str(leaf)) > LABEL_LIMIT:
                problems.append(f"{name_of(thing)}: the label {path} has {len(str(leaf))} characters")
    return problems


def unrestricted(things: list[dict]) -> list[str]:
    """What the Pod Security level `restricted` refuses, what needs a writable root, and tokens that nobody asks for."""
    problems = []
    for owner, pod in pods(things):
        def want(holds: bool, what: str) -> None:
            if not holds:
                problems.append(f"{owner}: {what}")

        context = pod.get("securityContext", {})
        want(context.get("runAsNonRoot") is True, "runAsNonRoot is not set")
        want(context.get("runAsUser", 0) >= 10000, "runs as an account that a node may have")
        want(context.get("seccompProfile", {}).get("type") == "RuntimeDefault", "has no seccomp profile")
        want(pod.get("automountServiceAccountToken") is False, "mounts a token")
        for shared in ("hostNetwork", "hostPID", "hostIPC"):
            want(not pod.get(shared), f"{shared} is set")
        for volume in pod.get("volumes", []):
            kinds = set(volume) - {"name"}
            want(kinds <= VOLUMES, f"volume {volume['name']} is a {', '.join(sorted(kinds))}")
        for container in pod["containers"] + pod.get("initContainers", []):
            own = container.get("securityContext", {})
            at = f"container {container['name']}"
            want(own.get("allowPrivilegeEscalation") is False, f"{at} may escalate")
            want(own.get("readOnlyRootFilesystem") is True, f"{at} may write to its root")
            want(own.get("capabilities") == {"drop": ["ALL"]}, f"{at} keeps capabilities")
            want(not own.get("privileged"), f"{at} is privileged")
            want({"requests", "limits"} <= set(container.get("resources", {})), f"{at} reserves nothing or has no limit")
            for port in container.get("ports", []):
                want("hostPort" not in port, f"{at} takes a port of the node")
    return problems


def needed_by(pod: dict) -> set[tuple[str, str]]:
    """The objects without which it does not start, by kind and name."""
    needed = set()
    if "serviceAccountName" in pod:
        needed.add(("ServiceAccount", pod["serviceAccountName"]))
    for container in pod["containers"] + pod.get("initContainers", []):
        for source in container.get("envFrom", []):
            for key, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if key in source:
                    needed.add((kind, source[key]["name"]))
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            for key, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if key in source:
                    needed.add((kind, source[key]["name"]))
    for volume in pod.get("volumes", []):
        if "configMap" in volume:
            needed.add(("ConfigMap", volume["configMap"]["name"]))
        if "secret" in volume:
            needed.add(("Secret", volume["secret"]["secretName"]))
        if "persistentVolumeClaim" in volume:
            needed.add(("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]))
    return needed


def dependent_hooks(things: list[dict]) -> list[str]:
    """Migrations run before the release: what they need of it does not exist yet."""
    own = {(thing["kind"], thing["metadata"]["name"]) for thing in things if not hooks_of(thing)}
    problems = []
    for thing in things:
        hooks = hooks_of(thing)
        if not hooks or hooks == {"test"}:
            continue
        for owner, pod in pods([thing]):
            if "serviceAccountName" in pod:
                problems.append(f"{owner}: needs a service account")
            problems += [f"{owner}: needs {' '.join(need)} of the release" for need in sorted(needed_by(pod) & own)]
    return problems


def migrations(things: list[dict], services: dict) -> list[str]:
    """One hook Job for each database, before installation and upgrade, and not with the credentials that serve."""
    jobs = of_kind(things, "Job")
    wanted = {f"{name}-migrate" for name, service in services.items() if service["database"]["enabled"]}
    problems = [f"no migration Job {name}" for name in sorted(wanted - set(jobs))]
    problems += [f"a migration Job without a database: {name}" for name in sorted(set(jobs) - wanted)]
    deployments = of_kind(things, "Deployment")
    for component, job in jobs.items():
        if hooks_of(job) != {"pre-install", "pre-upgrade"}:
            problems.append(f"{name_of(job)}: is no pre-install and pre-upgrade hook")
        container = job["spec"]["template"]["spec"]["containers"][0]
        if container["args"] != ["migrate"]:
            problems.append(f"{name_of(job)}: does not run `migrate`")
        serving = deployments[component[: -len("-migrate")]]["spec"]["template"]["spec"]
        # Who vouches for Postgres is no credential: both may know it.
        authority = services[component[: -len("-migrate")]]["database"].get("authority", {}).get("existingSecret")
        secrets = {need for need in needed_by(job["spec"]["template"]["spec"]) if need[0] == "Secret" and need[1] != authority}
        problems += [f"{name_of(job)}: has the serving Secret {name}" for _, name in sorted(secrets & needed_by(serving))]
    return problems


def policies(things: list[dict], services: dict) -> list[str]:
    """Everybody is denied, and each component's policy lets in its callers, and out to those it calls, and no other."""
    found = of_kind(things, "NetworkPolicy")
    problems = []
    deny = found.get("policy", {}).get("spec", {})
    if set(deny.get("policyTypes", [])) != {"Ingress", "Egress"} or "ingress" in deny or "egress" in deny:
        problems.append("no policy denies everything by default")
    release = deny.get("podSelector", {}).get("matchLabels", {})
    for thing in things:
        labels = _pod_labels(thing)
        if labels is not None and not release.items() <= labels.items():
            problems.append(f"{name_of(thing)}: the policy that denies does not select its pods")
        if labels is not None and component_of(thing) not in found:
            problems.append(f"{name_of(thing)}: its pods have no policy")
    scraped = any(thing["kind"] == "ServiceMonitor" for thing in things)
    for name, service in services.items():
        if name not in found:
            continue
        spec = found[name]["spec"]
        scrapes = [rule for rule in spec.get("ingress", []) if [port["port"] for port in rule.get("ports", [])] == [ADMIN_PORT]]
        if len(scrapes) != scraped:
            problems.append(f"the policy of {name} has {len(scrapes)} rules for Prometheus instead of {int(scraped)}")
        calls = [rule for rule in spec.get("ingress", []) if rule not in scrapes]
        callers = set(service["callers"]) & set(services) if service["listens"] else set()
        if name == "gateway":
            callers.add("test")
        callees = {other for other, callee in services.items() if name in callee["callers"]}
        problems += _difference(name, "lets in", _components(calls, "from"), callers)
        problems += _difference(name, "lets out to", _components(spec.get("egress", []), "to"), callees)
        outside = [rule for rule in calls if not _components([rule], "from")]
        wanted = [peer for peer in service["network"]["from"].values() if peer["enabled"]] if service["listens"] else []
        if len(outside) != len(wanted):
            problems.append(f"the policy of {name} has {len(outside)} rules for callers outside instead of {len(wanted)}")
        for rule in calls:
            if [port["port"] for port in rule.get("ports", [])] != [PORT]:
                problems.append(f"the policy of {name} opens another port than {PORT}")
        for rule in spec.get("egress", []):
            if not rule.get("ports"):
                problems.append(f"the policy of {name} lets out to every port")
    return problems


def _pod_labels(thing: dict):
    if thing["kind"] == "Pod":
        return thing["metadata"]["labels"]
    return thing["spec"]["template"]["metadata"]["labels"] if "template" in thing.get("spec", {}) else None


def _components(rules: list[dict], side: str) -> set[str]:
    peers = (peer for rule in rules for peer in rule.get(side, []))
    selectors = (peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer and "namespaceSelector" not in peer)
    return {labels[COMPONENT] for labels in selectors}


def _difference(name: str, what: str, found: set[str], wanted: set[str]) -> list[str]:
    return [f"the policy of {name} {what} {other}" for other in sorted(found - wanted)] + [
        f"the policy of {name} does not say that it {what} {other}" for other in sorted(wanted - found)
    ]


def workloads(things: list[dict], services: dict) -> list[str]:
    """Replicas, budgets, probes, the end of a pod, and the addresses of those it calls."""
    deployments, budgets = of_kind(things, "Deployment"), of_kind(things, "PodDisruptionBudget")
    scalers, maps = of_kind(things, "HorizontalPodAutoscaler"), of_kind(things, "ConfigMap")
    names = {thing["metadata"]["name"] for thing in things if thing["kind"] == "Service"}
    problems = [f"{name} has no Deployment" for name in services if name not in deployments]
    for name in deployments:
        if name not in services:
            problems.append(f"a Deployment of no service: {name}")
            continue
        service, spec = services[name], deployments[name]["spec"]
        pod = spec["template"]["spec"]
        container = pod["containers"][0]

        def want(holds: bool, what: str) -> None:
            if not holds:
                problems.append(f"{name}: {what}")

        scaled = service["autoscaling"]["enabled"]
        want(("replicas" in spec) != scaled, "replicas stand beside an autoscaler, or neither is there")
        want((name in scalers) == scaled, "the autoscaler is not as the values say")
        replicas = service["autoscaling"]["minReplicas"] if scaled else service["replicas"]
        want((name in budgets) == (replicas > 1 and service["podDisruptionBudget"]["enabled"]), "the disruption budget is not right")
        want(container["args"] == [service["command"]], "runs another subcommand")
        want(container["image"].split("/")[-1].split("@")[0].split(":")[0] == service["image"], "runs another image")
        want("checksum/config" in spec["template"]["metadata"]["annotations"], "a change of its configuration restarts nothing")
        drain = sum(service["drain"].values())
        want(pod["terminationGracePeriodSeconds"] >= drain + GRACE, "is killed before the drain is over")
        # While Postgres is away, gRPC health says "not serving"; liveness must not hear of it.
        for probe, asked in (("livenessProbe", "liveness"), ("readinessProbe", "readiness")):
            want(container.get(probe, {}).get("grpc") == {"port": ADMIN_PORT, "service": asked}, f"the {probe} is not right")
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        want(ports == {"admin": ADMIN_PORT, **({"grpc": PORT} if service["listens"] else {})}, "the ports are not right")
        certificate = service["tls"]["existingSecret"]
        data = maps[name]["data"]
        if service["listens"]:
            want(("CQM__SERVER__TLS__CERTIFICATE" in data) == bool(certificate), "is not secured as the values say")
            want((data.get("CQM__SERVER__PLAINTEXT") == "true") != bool(certificate), "is both secured and not, or neither")
            want(("CQM__SERVER__TLS__CLIENT_CA" in data) == service["tls"]["mutual"], "does not ask callers as the values say")
        mounted = [volume["secret"]["secretName"] for volume in pod.get("volumes", []) if volume["name"] == "tls"]
        want(mounted == ([certificate] if certificate else []), "its certificate is not mounted")
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for volume, variables in (
            ("database-authority", {"CQM__DATABASE__CA"}),
            ("database-certificate", {"CQM__DATABASE__CERTIFICATE", "CQM__DATABASE__KEY"}),
            ("cache-authority", {"CQM__CACHE__REDIS_TLS__CA", "CQM__SERVICE__QUOTA__REDIS_TLS__CA"}),
        ):
            want(bool(variables & set(data)) == (volume in volumes), f"the volume {volume} is named and not there, or the reverse")
        off = service["database"]["enabled"] and service["database"]["plaintext"]
        want((data.get("CQM__DATABASE__TLS") == "off") == off, "its database is spoken to otherwise than the values say")
        for variable, value in maps[name]["data"].items():
            address = re.fullmatch(r"https?://([^:/]+):50051", value)
            if variable.startswith("CQM__SERVICE__BACKENDS__TLS__"):
                want(bool(mounted), f"{variable} leads to a file that is not there")
            elif variable.startswith("CQM__SERVICE__BACKENDS__"):
                want(bool(address) and address.group(1) in names, f"{variable} is no Service of the release: {value}")
    return problems


def traces_of(component: str, things: list[dict]) -> list[str]:
    """What is left of a component that is disabled."""
    words = re.compile(rf"(^|[^a-z]){re.escape(component)}([^a-z]|$)|__{component.upper().replace('-', '_')}$")
    problems = []
    for thing in things:
        texts = [path.rsplit(".", 1)[-1] for path, _ in leaves(thing)] + [str(leaf) for _, leaf in leaves(thing)]
        problems += [f"{name_of(thing)}: {text}" for text in texts if "\n" not in text and words.search(text)][:1]
    return problems


def open_objects(schema, path: str = "") -> list[str]:
    """Objects of a JSON schema that take what they do not name. A map takes any name, of a pattern, but not any value."""
    problems = []
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            more = schema.get("additionalProperties", True)
            if more is not False and not (isinstance(more, dict) and more and "propertyNames" in schema):
                problems.append(f"{path or '/'} takes unknown keys")
        for key, inner in schema.items():
            problems += open_objects(inner, f"{path}/{key}")
    elif isinstance(schema, list):
        for index, inner in enumerate(schema):
            problems += open_objects(inner, f"{path}/{index}")
    return problems


def careless_templates(texts: dict[str, str]) -> list[str]:
    """Functions that swallow or change values: `default` takes false and 0 for absent, `set` and `unset` change what other
    templates see, `lookup` renders something else without a cluster."""
    pattern = re.compile(r"(?:\{\{-?|\||\()\s*(default|set|unset|lookup|coalesce|ternary)\s")
    problems = []
    for name, text in texts.items():
        code = re.sub(r"\{\{-?\s*/\*.*?\*/\s*-?\}\}", "", text, flags=re.DOTALL)
        problems += [f"{name} uses `{word}`" for word in sorted(set(pattern.findall(code)))]
    return problems


def explained(text: str) -> tuple[set[str], list[str]]:
    """The findings of checkov that its file leaves as they are, and those of them without a comment above that says why."""
    found, reasonless, before = set(), [], ""
    for line in text.splitlines():
        check = re.match(r"\s*- (CKV\w+)$", line)
        if check:
            found.add(check.group(1))
            if not before.strip().startswith("#"):
                reasonless.append(check.group(1))
        before = line
    return found, reasonless


def over(base: dict, *layers: dict) -> dict:
    """Maps merged key by key, everything else replaced: what Helm and the chart do with values."""
    for layer in layers:
        base = {
            **base,
            **{key: over(base[key], value) if isinstance(base.get(key), dict) and isinstance(value, dict) else value
               for key, value in layer.items()},
        }
    return base


def sentence(refusal: str) -> str:
    """What the chart said, without Helm's words around it."""
    found = re.search(r"validations\.yaml:\d+:\d+\): ([^\n]+)", refusal)
    return found.group(1).strip() if found else refusal.strip()
