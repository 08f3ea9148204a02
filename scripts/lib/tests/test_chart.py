"""What is generated of the chart, and the rules that it is held to. Each rule is shown something that breaks it."""

import copy
import json
import unittest

from lib import chart, chart_fuzz, chart_programs, chart_readme, chart_rules as rules, dashboards

VALUES = """
# Not for the table.
top: 1
# -- How many,
# and why | when
count: 0
defaults:
  # Also not.
  # -- Further in
  inner: {a: 1}
  bare: true
services:
  one:
    bare: true
"""


class Readme(unittest.TestCase):
    def test_the_table_is_made_of_the_marked_comments(self):
        self.assertEqual(chart_readme.table(VALUES).splitlines()[2:], [
            "| `count` | `0` | How many, and why \\| when |",
            "| `defaults.inner` | `{a: 1}` | Further in |",
        ])

    def test_only_the_table_of_a_readme_is_replaced(self):
        text = f"before\n{chart_readme.BEGIN}\nold\n{chart_readme.END}\nafter\n"
        made = chart_readme.with_table(text, VALUES)
        self.assertTrue(made.startswith("before\n") and made.endswith("\nafter\n") and "old" not in made)
        self.assertEqual(chart_readme.with_table(made, VALUES), made)

    def test_values_that_nobody_explains_are_named(self):
        self.assertEqual(chart_readme.undocumented(VALUES), ["top", "defaults.bare"])

    def test_the_charts_own_files_are_current(self):
        self.assertEqual(chart.outdated(), [])


class Dashboards(unittest.TestCase):
    def test_all_have_a_query_in_every_panel_and_no_panel_over_another(self):
        for name, text in dashboards.all_texts().items():
            board = json.loads(text)
            places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]}
            self.assertEqual(len(places), len(board["panels"]), name)
            for panel in board["panels"]:
                self.assertTrue(all(target["expr"].count("(") == target["expr"].count(")") for target in panel["targets"]), panel["title"])


def labelled(component: str, **more) -> dict:
    return {"name": f"r-{component}", "labels": {"release": "r", rules.COMPONENT: component}, **more}


def pod(**more) -> dict:
    return {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{
            "name": "c", "image": "x/cqm-c:1", "args": ["serve"], "resources": {"requests": {}, "limits": {}},
            "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        }],
        **more,
    }


def template(component: str, spec: dict) -> dict:
    return {"template": {"metadata": labelled(component, annotations={"checksum/config": "x"}), "spec": spec}}


def deployment(component: str, spec=None) -> dict:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": labelled(component), "spec": template(component, spec or pod())}


class Pods(unittest.TestCase):
    def test_a_restricted_one_is_left_alone(self):
        self.assertEqual(rules.unrestricted([deployment("a")]), [])

    def test_everything_that_restricted_refuses_is_found(self):
        def container(**more):
            changed = pod()
            changed["containers"][0].update(more)
            return changed

        secure = pod()["containers"][0]["securityContext"]
        for spec, words in (
            (pod(automountServiceAccountToken=True), "token"),
            (pod(hostNetwork=True), "hostNetwork"),
            (pod(securityContext={**pod()["securityContext"], "runAsNonRoot": False}), "runAsNonRoot"),
            (pod(securityContext={**pod()["securityContext"], "runAsUser": 0}), "account"),
            (pod(securityContext={"runAsNonRoot": True, "runAsUser": 65532}), "seccomp"),
            (pod(volumes=[{"name": "v", "hostPath": {"path": "/"}}]), "hostPath"),
            (pod(volumes=[{"name": "v", "projected": {}}]), "projected"),
            (container(securityContext={**secure, "allowPrivilegeEscalation": True}), "escalate"),
            (container(securityContext={**secure, "readOnlyRootFilesystem": False}), "root"),
            (container(securityContext={**secure, "capabilities": {"drop": ["ALL"], "add": ["NET_RAW"]}}), "capabilities"),
            (container(ports=[{"containerPort": 1, "hostPort": 1}]), "port of the node"),
            (container(resources={}), "reserves"),
        ):
            with self.subTest(words):
                (problem,) = rules.unrestricted([deployment("a", spec)])
                self.assertIn(words, problem)


class Hooks(unittest.TestCase):
    def job(self, **more) -> dict:
        metadata = labelled("a-migrate", annotations={"helm.sh/hook": "pre-install,pre-upgrade"})
        spec = pod(**more)
        spec["containers"][0]["args"] = ["migrate"]
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template("a-migrate", spec)}

    def test_what_it_needs_of_the_release_is_found(self):
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": labelled("a"), "data": {}}
        job = self.job()
        self.assertEqual(rules.dependent_hooks([job, config]), [])
        job["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "r-a"}}]
        self.assertEqual(rules.dependent_hooks([job, config]), ["Job r-a-migrate: needs ConfigMap r-a of the release"])
        self.assertEqual(rules.dependent_hooks([self.job(serviceAccountName="x")]), ["Job r-a-migrate: needs a service account"])

    def test_the_serving_secret_and_a_missing_job_are_found(self):
        services = {"a": {"database": {"enabled": True}}}
        secret = [{"name": "U", "valueFrom": {"secretKeyRef": {"name": "s", "key": "url"}}}]
        serving, job = deployment("a"), self.job()
        for thing in (serving, job):
            thing["spec"]["template"]["spec"]["containers"][0]["env"] = secret
        self.assertEqual(rules.migrations([serving, job], services), ["Job r-a-migrate: has the serving Secret s"])
        self.assertEqual(rules.migrations([serving], services), ["no migration Job a-migrate"])


class Programs(unittest.TestCase):
    def test_each_pod_is_run_with_its_own_environment(self):
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": labelled("a"), "data": {"A": "1", "B": "2"}}
        serving, other = deployment("a"), deployment("b")
        container = serving["spec"]["template"]["spec"]["containers"][0]
        container["envFrom"] = [{"configMapRef": {"name": "r-a"}}]
        container["env"] = [{"name": "B", "value": "3"}, {"name": "CQM__CACHE__KEY", "valueFrom": {}}]
        other["spec"]["template"]["spec"]["containers"][0]["args"] = ["-addr=x"]
        found = chart_programs.runs([config, serving, other])
        environment = {"A": "1", "B": "3", "CQM__CACHE__KEY": chart_programs.SECRETS["CQM__CACHE__KEY"]}
        self.assertEqual(found, [("Deployment r-a", "cqm-c", "check", environment)])


class Policies(unittest.TestCase):
    SERVICES = {
        "a": {"callers": ["b"], "listens": True, "network": {"from": {}}},
        "b": {"callers": [], "listens": False, "network": {"from": {}}},
    }

    def policy(self, name: str, **spec) -> dict:
        selector = {"release": "r"} if name == "policy" else {"release": "r", rules.COMPONENT: name}
        spec = {"podSelector": {"matchLabels": selector}, "policyTypes": ["Ingress", "Egress"], **spec}
        return {"apiVersion": "v1", "kind": "NetworkPolicy", "metadata": labelled(name), "spec": spec}

    def rule(self, side: str, name: str) -> list:
        return [{"ports": [{"port": rules.PORT}], side: [{"podSelector": {"matchLabels": {rules.COMPONENT: name}}}]}]

    def good(self) -> list:
        return [
            self.policy("policy"), deployment("a"), deployment("b"),
            self.policy("a", ingress=self.rule("from", "b")), self.policy("b", egress=self.rule("to", "a")),
        ]

    def test_exactly_the_callers_are_let_in(self):
        self.assertEqual(rules.policies(self.good(), self.SERVICES), [])

    def test_every_difference_is_found(self):
        def changed(index, **spec):
            things = copy.deepcopy(self.good())
            things[index]["spec"].update(spec)
            return things

        for things, words in (
            (self.good()[1:], "denies everything"),
            (changed(0, ingress=[]), "denies everything"),
            (self.good()[:-1], "have no policy"),
            (changed(3, ingress=self.rule("from", "c")), "lets in c"),
            (changed(3, ingress=self.rule("from", "b") + [{"ports": [{"port": rules.PORT}]}]), "1 rules for callers outside"),
            (changed(3, ingress=[{**self.rule("from", "b")[0], "ports": [{"port": 1}]}]), "another port"),
            (self.good() + [{"kind": "ServiceMonitor", "metadata": labelled("metrics")}], "0 rules for Prometheus instead of 1"),
            (changed(3, ingress=self.rule("from", "b") + [{"ports": [{"port": rules.ADMIN_PORT}]}]), "1 rules for Prometheus instead of 0"),
            (changed(4, egress=[]), "does not say that it lets out to a"),
            (changed(4, egress=self.rule("to", "a") + [{"to": []}]), "every port"),
        ):
            with self.subTest(words):
                self.assertIn(words, " ".join(rules.policies(things, self.SERVICES)))


class Texts(unittest.TestCase):
    def test_nulls_repetitions_and_long_names_are_found(self):
        thing = deployment("a")
        self.assertEqual(rules.nulls([thing]) + rules.repeated([thing]) + rules.too_long([thing]), [])
        self.assertEqual(rules.nulls([{**thing, "spec": {"x": [{"y": None}]}}]), ["Deployment r-a: spec.x[0].y is null"])
        self.assertEqual(rules.repeated([thing, thing]), ["Deployment r-a is rendered twice"])
        self.assertEqual(len(rules.too_long([deployment("a" * 64)])), 2)

    def test_traces_of_a_disabled_component_are_found(self):
        self.assertEqual(rules.traces_of("b", [deployment("a")]), [])
        for thing in (
            deployment("b"),
            {"kind": "ConfigMap", "metadata": labelled("a"), "data": {"CQM__SERVICE__BACKENDS__B": "x"}},
            {"kind": "ConfigMap", "metadata": labelled("a"), "data": {"X": "http://r-b:50051"}},
        ):
            self.assertEqual(len(rules.traces_of("b", [thing])), 1)

    def test_open_objects_of_a_schema_are_found(self):
        closed = {"type": "object", "additionalProperties": False, "properties": {}}
        names = {"type": "object", "propertyNames": {"pattern": "a"}, "additionalProperties": {"type": "string"}}
        self.assertEqual(rules.open_objects({"$defs": {"a": closed, "b": names}}), [])
        self.assertEqual(rules.open_objects({"$defs": {"a": {"type": "object"}}}), ["/$defs/a takes unknown keys"])
        self.assertEqual(len(rules.open_objects({"type": "object", "additionalProperties": {"type": "string"}})), 1)

    def test_functions_that_swallow_values_are_found(self):
        fine = "{{/* default would take 0 for absent */}}{{ .Values.defaults.x }} a default b {{ mergeOverwrite (dict) . }}"
        self.assertEqual(rules.careless_templates({"a": fine}), [])
        for text in ("{{ .x | default 1 }}", "{{- default 1 .x }}", "{{ $_ := set .a 1 2 }}{{ (unset .a 1) }}"):
            self.assertEqual(len(rules.careless_templates({"a": text})), 1, text)


class Said(unittest.TestCase):
    def test_exceptions_need_a_reason(self):
        text = "skip-check:\n  # Why.\n  - CKV_K8S_1\n  - CKV_K8S_2\n"
        self.assertEqual(rules.explained(text), ({"CKV_K8S_1", "CKV_K8S_2"}, ["CKV_K8S_2"]))

    def test_the_charts_sentence_is_taken_out_of_helms_words(self):
        said = "Error: execution error at (cqm/templates/validations.yaml:51:4): Set a: b.\n\nUse --debug flag\n"
        self.assertEqual(rules.sentence(said), "Set a: b.")
        self.assertEqual(rules.sentence("Error: other\n"), "Error: other")

    def test_values_are_merged_key_by_key_and_false_counts(self):
        base = {"a": {"x": 1, "y": True}, "b": [1], "c": {"z": 1}}
        self.assertEqual(rules.over(base, {"a": {"y": False}, "b": []}, {"c": 0}), {"a": {"x": 1, "y": False}, "b": [], "c": 0})


class Fuzz(unittest.TestCase):
    SCHEMA = {
        "type": "object", "additionalProperties": False, "required": ["a", "m"],
        "properties": {"a": {"$ref": "#/$defs/name"}, "m": {"type": "object", "propertyNames": {"pattern": "^[a-z]$"},
                                                          "additionalProperties": {"type": ["string", "boolean"]}}},
        "$defs": {"name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 4}},
    }

    def test_what_is_drawn_is_allowed_and_the_same_again(self):
        seen = set()
        for seed in range(50):
            drawn = chart_fuzz.Draw(self.SCHEMA, seed).values()
            self.assertEqual(drawn, chart_fuzz.Draw(self.SCHEMA, seed).values())
            self.assertRegex(drawn["a"], r"\A[a-z]{1,4}\Z")
            self.assertTrue(all(len(key) == 1 for key in drawn["m"]))
            seen.add(drawn["a"])
        self.assertIn("null", seen)
        self.assertIn("yes", seen)

    def test_what_could_not_be_drawn_is_left_out(self):
        self.assertEqual(chart_fuzz.without_nothing({"a": None, "b": [None, {"c": None}]}), {"b": [{}]})

    def test_what_the_chart_would_refuse_with_a_sentence_is_made_good(self):
        values = chart_fuzz.allowed({
            "defaults": {"files": {"a": {}}, "callers": ["x"]},
            "services": {"gateway": {"enabled": False, "files": {"a": {"existingSecret": "s"}}, "env": {"CQM__SERVICE__X": 1}}},
            "expose": {"ingress": {"enabled": True, "host": ""}},
        })
        self.assertTrue(values["image"]["registry"] and values["expose"]["ingress"]["host"])
        self.assertFalse(values["expose"]["ingress"]["enabled"])
        self.assertEqual(values["defaults"], {
            "files": {"a": {"existingSecret": "null"}}, "env": {}, "secretEnv": {},
            "tls": {"existingSecret": "", "plaintext": True, "mutual": False},
        })
        self.assertEqual(values["services"]["gateway"]["files"], {})
