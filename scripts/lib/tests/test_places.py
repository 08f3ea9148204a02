"""Folders, sockets' paths and the recorded state."""

import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from lib import places, ui

SOMEBODY = places.Account(uid=12345, gid=12345)


class Reachable(unittest.TestCase):
    def setUp(self):
        # /tmp itself may be entered by everybody, whatever the user's own temporary folder is.
        folder = tempfile.TemporaryDirectory(dir="/tmp")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def test_a_closed_folder_on_the_way_bars_it(self):
        inner = self.folder / "inner"
        inner.mkdir()
        self.folder.chmod(0o700)
        self.assertFalse(places.reachable(inner, SOMEBODY))
        self.folder.chmod(0o711)
        self.assertTrue(places.reachable(inner, SOMEBODY))
        self.assertTrue(places.reachable(inner / "not" / "yet" / "made", SOMEBODY))

    def test_without_another_account_everything_is(self):
        self.folder.chmod(0o700)
        self.assertTrue(places.reachable(self.folder, None))


class SocketPaths(unittest.TestCase):
    def test_the_limit_counts_bytes_and_the_sockets_name(self):
        room = places.SOCKET_PATH_LIMIT - len("/" + places.POSTGRES_SOCKET)
        self.assertTrue(places.short_enough(Path("/" + "a" * (room - 1))))
        self.assertFalse(places.short_enough(Path("/" + "a" * room)))
        self.assertFalse(places.short_enough(Path("/" + "客" * (room // 2))))

    def test_a_long_path_gets_a_short_recorded_folder(self):
        with tempfile.TemporaryDirectory() as folder:
            dev = Path(folder) / ("long" * 30)
            dev.mkdir()
            with mock.patch.multiple(places, DEV=dev, STATE=dev / "state.json"), mock.patch.object(
                places, "server_account", return_value=None
            ):
                sockets = places.socket_folder("sockets")
                self.addCleanup(sockets.rmdir)
                self.assertTrue(places.short_enough(sockets))
                self.assertEqual(places.socket_folder("sockets"), sockets)
                self.assertNotEqual(places.socket_folder("other"), sockets)
                Path(places.read_state()["sockets:other"]).rmdir()


class State(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        dev = Path(folder.name)
        patch = mock.patch.multiple(places, DEV=dev, STATE=dev / "state.json")
        patch.start()
        self.addCleanup(patch.stop)

    def test_values_are_merged(self):
        places.update_state(listen="127.0.0.1:1")
        places.update_state(home="/here")
        state = places.read_state()
        self.assertEqual((state["listen"], state["home"]), ("127.0.0.1:1", "/here"))

    def test_a_copied_repository_starts_with_none(self):
        places.STATE.write_text(json.dumps({"root": "/elsewhere", "home": "/var/lib/theirs"}))
        self.assertEqual(places.read_state(), {})

    def test_damage_is_explained(self):
        places.STATE.write_text("{")
        with self.assertRaisesRegex(ui.Failure, "damaged"):
            places.read_state()
