"""What ships the suite: images, their bills of materials, the lint of migrations, the cases of alerts."""

import unittest
from pathlib import Path

from lib import alert_cases, image, migration_lint, sbom


class Libraries(unittest.TestCase):
    def test_the_loader_counts_and_the_kernels_own_library_does_not(self):
        text = (
            "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n"
            "\t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n"
        )
        self.assertEqual(image.loaded(text), [Path("/lib/x86_64-linux-gnu/libc.so.6"), Path("/lib64/ld-linux-x86-64.so.2")])

    def test_a_static_program_loads_nothing(self):
        self.assertEqual(image.loaded("\tstatically linked\n"), [])


class Bill(unittest.TestCase):
    METADATA = {
        "packages": [
            {"id": "a", "name": "program", "version": "1.0.0", "license": "Apache-2.0"},
            {"id": "b", "name": "linked", "version": "2.0.0", "license": "MIT/Apache-2.0"},
            {"id": "c", "name": "of-tests", "version": "3.0.0", "license": None},
        ],
        "resolve": {"nodes": [
            {"id": "a", "deps": [
                {"pkg": "b", "dep_kinds": [{"kind": None}]},
                {"pkg": "c", "dep_kinds": [{"kind": "dev"}, {"kind": "build"}]},
            ]},
            {"id": "b", "deps": []},
            {"id": "c", "deps": []},
        ]},
    }
    LOCK = '[[package]]\nname = "linked"\nversion = "2.0.0"\nsource = "registry"\nchecksum = "' + "0" * 64 + '"\n'

    def made(self, created: str = "2026-01-01T00:00:00Z") -> dict:
        return sbom.bill("program", self.METADATA, sbom.checksums(self.LOCK), created, [])

    def test_it_names_what_is_linked_and_nothing_else(self):
        self.assertEqual(self.made()["components"], [{
            "type": "library", "bom-ref": "pkg:cargo/linked@2.0.0", "purl": "pkg:cargo/linked@2.0.0", "name": "linked",
            "version": "2.0.0", "licenses": [{"expression": "MIT OR Apache-2.0"}],
            "hashes": [{"alg": "SHA-256", "content": "0" * 64}],
        }])
        self.assertIn({"ref": "pkg:cargo/program@1.0.0", "dependsOn": ["pkg:cargo/linked@2.0.0"]}, self.made()["dependencies"])

    def test_the_same_is_the_same_again(self):
        self.assertEqual(self.made(), self.made())
        self.assertNotEqual(self.made()["serialNumber"], self.made("2027-01-01T00:00:00Z")["serialNumber"])


class Migrations(unittest.TestCase):
    FOUND = [{"file": "services/x/migrations/1_one/up.sql", "line": 4, "rule_name": "ban-drop-column", "message": "Dropping"}]

    def test_a_finding_needs_a_reason(self):
        self.assertEqual(migration_lint.judged(self.FOUND, {}), ["1_one, line 5: ban-drop-column: Dropping"])
        self.assertEqual(migration_lint.judged(self.FOUND, {"1_one": {"ban-drop-column": "nothing reads it since 0.2"}}), [])

    def test_a_reason_needs_a_finding(self):
        told = migration_lint.judged([], {"1_one": {"ban-drop-column": "once"}})
        self.assertEqual(told, ["1_one is excused from ban-drop-column, which finds nothing in it"])


class Alerts(unittest.TestCase):
    GROUPS = [{"rules": [{"alert": "A", "labels": {"severity": "warning"},
                          "annotations": {"summary": "of {{ $labels.job }}"}}]}]

    def test_an_alert_must_be_shown_to_fire_and_not_to(self):
        fires = alert_cases.Case("A", "x", {"m": "1x5"}, "1m", {"job": "cqm/a"})
        self.assertEqual(alert_cases.untested(self.GROUPS, (fires,)), ["no case shows that A does not fire"])

    def test_what_is_expected_is_what_the_alert_says(self):
        (made,) = alert_cases.tests(self.GROUPS, (alert_cases.Case("A", "x", {"m": "1x5"}, "1m", {"job": "cqm/a"}),))
        self.assertEqual(made["alert_rule_test"][0]["exp_alerts"], [
            {"exp_labels": {"severity": "warning", "job": "cqm/a"}, "exp_annotations": {"summary": "of cqm/a"}},
        ])
