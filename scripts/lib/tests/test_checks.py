"""Which steps run, and that nothing of a step outlives it."""

import argparse
import contextlib
import time
import unittest

from lib import checks, ui


def chosen(only="", skip="", filters=()):
    options = argparse.Namespace(only=only, skip=skip, filter=list(filters))
    return [step.name for step in checks._chosen(options)]


class Steps(unittest.TestCase):
    def test_all_run_by_default(self):
        self.assertEqual(chosen(), [step.name for step in checks.STEPS])

    def test_chosen_ones_keep_their_order(self):
        self.assertEqual(chosen(only="unit,clippy"), ["clippy", "unit"])
        self.assertNotIn("doc", chosen(skip="doc"))

    def test_a_filter_alone_means_tests(self):
        self.assertEqual(chosen(filters=["ledger"]), ["unit", "integration"])
        self.assertEqual(chosen(filters=["ledger"], only="unit"), ["unit"])

    def test_an_unknown_one_is_refused(self):
        with self.assertRaisesRegex(ui.Failure, "no step clipy"):
            chosen(only="clipy")

    def test_what_stands_behind_two_dashes_goes_to_the_tests(self):
        self.assertEqual(checks._split(["a", "--", "--nocapture", "--"]), (["a"], ["--nocapture", "--"]))


class Calls(unittest.TestCase):
    def setUp(self):
        self.run_ = checks.Run([], [], contextlib.ExitStack())
        self.run_.deadline = time.monotonic() + 60

    def test_a_failure_names_the_command_and_its_code(self):
        with self.assertRaisesRegex(ui.Failure, "`sh -c exit 3` failed with exit code 3"):
            self.run_.call(["sh", "-c", "exit 3"])

    def test_the_time_is_bounded_and_children_end_too(self):
        self.run_.deadline = time.monotonic()
        begin = time.monotonic()
        with self.assertRaisesRegex(ui.Failure, "longer than the step may take"):
            self.run_.call(["sh", "-c", "sleep 60 & wait"])
        self.assertLess(time.monotonic() - begin, 20)


class Times(unittest.TestCase):
    def test_are_readable(self):
        self.assertEqual([ui.seconds(t) for t in (0.44, 9.96, 61, 3599.7)], ["0.4 s", "10 s", "1 min 01 s", "60 min 00 s"])
