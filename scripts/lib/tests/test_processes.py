"""Processes are recognised, and none but those that were started is signalled."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

from lib import ui
from lib.processes import Keeper, Process, identify

SLEEP = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('begun', flush=True); time.sleep(60)",
]


class Keepers(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.base = Path(folder.name)
        self.keeper = Keeper(self.base, "sleeper")
        self.addCleanup(lambda: self.keeper.stop([(signal.SIGKILL, 5)]))

    def begin(self, command) -> Process:
        process = self.keeper.start(command)
        self.keeper.wait_until(lambda: "begun" in self.keeper.log.read_text(), patience=20)
        return process

    def test_a_started_process_is_found_again_and_stopped(self):
        process = self.begin(SLEEP)
        self.assertEqual(Keeper(self.base, "sleeper").running(), process)
        self.assertEqual(self.keeper.stop([(signal.SIGTERM, 10)]), "SIGTERM")
        self.assertIsNone(self.keeper.running())
        self.assertIsNone(self.keeper.stop([(signal.SIGTERM, 10)]))

    def test_one_that_does_not_listen_is_ended_by_the_next_signal(self):
        self.begin(STUBBORN)
        self.assertEqual(self.keeper.stop([(signal.SIGTERM, 0.2), (signal.SIGKILL, 10)]), "SIGKILL")

    def test_another_process_with_the_recorded_pid_is_left_alone(self):
        stranger = subprocess.Popen(SLEEP, stdout=subprocess.DEVNULL)
        self.addCleanup(stranger.wait)
        self.addCleanup(stranger.kill)
        real = identify(stranger.pid)
        self.keeper.remember(Process(real.pid, real.started - 1, real.boot))
        self.assertIsNone(self.keeper.running())
        self.assertIsNone(self.keeper.stop([(signal.SIGKILL, 5)]))
        self.assertIsNone(stranger.poll())

    def test_a_copied_record_does_not_reach_the_original(self):
        self.begin(SLEEP)
        record = json.loads((self.base / "run" / "sleeper.json").read_text())
        copy = self.base / "copy"
        (copy / "run").mkdir(parents=True)
        (copy / "run" / "sleeper.json").write_text(json.dumps(record))
        self.assertIsNone(Keeper(copy, "sleeper").running())

    def test_one_that_ends_early_shows_its_last_words(self):
        self.keeper.start([sys.executable, "-c", "print('no more paper')"])
        with self.assertRaisesRegex(ui.Failure, "(?s)sleeper ended.*no more paper"):
            self.keeper.wait_until(lambda: False, patience=20)

    def test_one_that_is_never_ready_is_given_up(self):
        self.begin(SLEEP)
        with self.assertRaisesRegex(ui.Failure, "not ready within 0.2 s"):
            self.keeper.wait_until(lambda: False, patience=0.2)

    def test_a_program_that_is_missing_is_named(self):
        with self.assertRaisesRegex(ui.Failure, "sleeper cannot be started"):
            self.keeper.start([self.base / "absent"])

    def test_it_dies_with_a_script_that_is_killed(self):
        script = (
            "import sys, signal; from pathlib import Path; from lib.processes import Keeper\n"
            f"Keeper(Path({str(self.base)!r}), 'sleeper').start({SLEEP!r}, dies_with_script=signal.SIGTERM)\n"
            "print('up', flush=True); signal.pause()"
        )
        scripts = Path(__file__).resolve().parents[2]
        parent = subprocess.Popen([sys.executable, "-B", "-c", script], cwd=scripts, stdout=subprocess.PIPE)
        self.addCleanup(parent.stdout.close)
        parent.stdout.readline()
        process = self.keeper.running()
        self.assertIsNotNone(process)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 10
        while process.alive():
            self.assertLess(time.monotonic(), deadline, "it outlived the script")
            time.sleep(0.02)


class Identify(unittest.TestCase):
    def test_a_name_with_brackets_and_spaces_does_not_confuse(self):
        with tempfile.TemporaryDirectory() as folder:
            odd = Path(folder) / "a) Z (b"
            odd.symlink_to("/bin/sleep")
            child = subprocess.Popen([odd, "60"])
            try:
                self.assertEqual(identify(child.pid).pid, child.pid)
            finally:
                child.kill()
                child.wait()
        self.assertIsNone(identify(child.pid))
