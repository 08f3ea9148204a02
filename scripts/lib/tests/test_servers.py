"""A real Postgres and Redis: fresh ones come up, answer, and leave nothing behind."""

import subprocess
import unittest

from lib import servers
from lib.processes import Keeper


class ThrownAway(unittest.TestCase):
    def test_they_answer_and_leave_nothing(self):
        with servers.thrown_away() as pair:
            base = pair.sockets.parent
            running = [pair.postgres.running(), pair.redis.running()]
            self.assertNotIn(None, running)
            self.assertTrue(pair.redis_answers())
            environment = servers.test_environment(pair)
            answer = subprocess.run(
                [pair.postgres_programs / "psql", "-XAtc", "CREATE DATABASE one; ", environment["CQM_TEST_POSTGRES_URL"]],
                capture_output=True, text=True,
            )
            self.assertEqual((answer.returncode, answer.stderr), (0, ""))
            settings = subprocess.run(
                [pair.postgres_programs / "psql", "-XAtc", "SHOW listen_addresses; SHOW fsync", environment["CQM_TEST_POSTGRES_URL"]],
                capture_output=True, text=True,
            )
            self.assertIn("off", settings.stdout)
        self.assertFalse(base.exists())
        self.assertFalse(any(process.alive() for process in running))

    def test_one_that_runs_is_taken_up_when_its_record_is_lost(self):
        with servers.thrown_away() as pair:
            process = pair.postgres.running()
            (pair.sockets.parent / "run" / "postgres.json").unlink()
            self.assertIsNone(pair.postgres.running())
            pair.start()
            self.assertEqual(pair.postgres.running(), process)
            self.assertIsInstance(pair.postgres, Keeper)
