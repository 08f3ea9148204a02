"""Values that are allowed and hard to render: texts that YAML takes for something else when a template forgets the quotes.

They are drawn from the chart's own schema, so a value that is added is tried without a word here. Pure.
"""

from __future__ import annotations

import copy
import random
import re

HARD = (
    # Names, labels, keys and tags may look like these.
    "0", "0123", "0x1f", "0o17", "1e3", "1.10", "1_000", "12", "true", "false", "yes", "no", "on", "off", "null", "n", "y",
    "2024-01-02", "infinity", ".inf", ".nan", "nan", "1.0", "00", "e1", "a", "a.b", "a-b", "x/y", "app.example.com/name",
    # Free texts may be these as well.
    "", " ", " padded ", "a: b", "a #b", "#b", "- a", "[a", "{a: b}", "*a", "&a", "!a", "|", ">", "%a", "@a", "`a`", "~", "?", ":",
    "'", '"', "\\", "\\n", "a\nb", "a\n---\nkind: Secret\n", "{{ .Values }}", "$(HOME)", "中文", "é", "😀", "\t", "\x07", "\u2028",
    "=", "<<", "a,b", "a=b", "http://a", "https://a:1", "10.0.0.0/8", "::/0",
    "CQM__SERVER__A", "CQM__TELEMETRY__NO", "CQM__SERVICE__N",
)  # fmt: skip


class Draw:
    """One set of values. The same seed draws the same."""

    def __init__(self, schema: dict, seed: int):
        self._schema = schema
        self._random = random.Random(seed)

    def values(self) -> dict:
        return self._of(self._schema)

    def _of(self, schema: dict):
        schema = self._resolve(schema)
        if "enum" in schema:
            return self._random.choice(schema["enum"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = self._random.choice(kind)
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            items = [self._of(schema["items"]) for _ in range(self._random.randint(0, 2))]
            return [item for index, item in enumerate(items) if item not in items[:index]] if schema.get("uniqueItems") else items
        if kind == "boolean":
            return self._random.random() < 0.5
        if kind == "integer":
            lowest = schema.get("minimum", 0)
            return self._random.randint(lowest, min(schema.get("maximum", 2_000_000), 2_000_000))
        if kind == "number":
            return self._random.choice((0, 1, 0.05, 33554432, 1e-7, -1, 1e15))
        return self._text(schema)

    def _object(self, schema: dict) -> dict:
        properties = schema.get("properties", {})
        drawn = {
            key: self._of(inner)
            for key, inner in properties.items()
            if key in schema.get("required", ()) or self._random.random() < 0.5
        }
        more = schema.get("additionalProperties")
        if isinstance(more, dict):
            names = schema["propertyNames"]
            for _ in range(self._random.randint(0, 3)):
                name = self._text(names)
                if name is not None:
                    drawn[name] = self._of(more)
        return drawn

    def _text(self, schema: dict):
        pattern = re.compile(schema.get("pattern", ""))
        fitting = [text for text in HARD if pattern.search(text) and _whole(pattern, text) and len(text) <= schema.get("maxLength", 1000)]
        return self._random.choice(fitting) if fitting else None

    def _resolve(self, schema: dict) -> dict:
        while "$ref" in schema or "allOf" in schema:
            # Of allOf the first part says what is allowed; the others only what has to be there.
            schema = schema["allOf"][0] if "allOf" in schema else self._schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return schema


def _whole(pattern, text: str) -> bool:
    """Python's $ also stands before a last line feed, that of the schema's language does not."""
    return not (pattern.pattern.endswith("$") and text.endswith("\n"))


def without_nothing(value):
    """Without what could not be drawn."""
    if isinstance(value, dict):
        return {key: without_nothing(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [without_nothing(inner) for inner in value if inner is not None]
    return value


def allowed(drawn: dict) -> dict:
    """With what the chart's sentences ask for, so that it is rendered: they are tried elsewhere."""
    values = copy.deepcopy(drawn)
    values.setdefault("networkPolicy", {}).setdefault("enabled", True)
    values.setdefault("image", {})
    values["image"]["registry"] = values["image"].get("registry") or "12/1e3"
    values.setdefault("services", {})
    every = [values.setdefault("defaults", {}), *values["services"].values()]
    for service in every:
        service.pop("callers", None)
        service.pop("listens", None)
        service.pop("command", None)
        for secret in (service.get("database", {}).get(use, {}) for use in ("serving", "migrating")):
            if not secret.get("existingSecret"):
                secret.pop("existingSecret", None)
        scaling = service.get("autoscaling", {})
        scaling.pop("minReplicas", None)
        if "maxReplicas" in scaling:
            scaling["maxReplicas"] += 2
        # A certificate for everybody or for nobody: who may call whom by what is tried elsewhere.
        service.pop("tls", None)
        for name, source in list(service.get("files", {}).items()):
            service["files"][name] = dict(list(source.items())[:1]) or {"existingSecret": "null"}
        for map_name in ("env", "secretEnv"):
            prefix = "CQM__SERVER__" if map_name == "env" else "CQM__SERVICE__"
            service[map_name] = {key: value for key, value in service.get(map_name, {}).items() if key.startswith(prefix)}
    for service in every:
        # By a certificate or in plain text: both at once are refused.
        service.get("database", {}).pop("plaintext", None)
    for service in values["services"].values():
        for name in values["defaults"].get("files", {}):
            # Merged, it would have two sources.
            service.get("files", {}).pop(name, None)
        if "database" in service:
            service["database"].pop("enabled", None)
    values["defaults"].get("database", {}).pop("enabled", None)
    values["defaults"].pop("enabled", None)
    values["defaults"].pop("image", None)
    tls = drawn.get("defaults", {}).get("tls", {})
    secret = tls.get("existingSecret") or ""
    values["defaults"]["tls"] = {
        "existingSecret": secret, "plaintext": not secret, "mutual": bool(secret) and tls.get("mutual", False),
    }
    rule = values.get("monitoring", {}).get("prometheusRule", {})
    rule["runbooks"] = rule.get("runbooks") or "https://a"
    for way, expose in values.get("expose", {}).items():
        if way == "ingress":
            expose["host"] = expose.get("host") or "12"
        else:
            expose["parentRefs"] = expose.get("parentRefs") or [{"name": "12"}]
        if not values["services"].get("gateway", {}).get("enabled", True):
            expose["enabled"] = False
    return values
