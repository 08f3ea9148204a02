"""The machine's description: the innermost file system counts, and the processors are never more than busy."""

import unittest
from pathlib import Path

from lib import machine

MOUNTS = """/dev/sda1 / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
/dev/sdb1 /home/a\\040b xfs rw 0 0
/dev/sdc1 /homework btrfs rw 0 0
"""


class FileSystem(unittest.TestCase):
    def test_the_innermost_one_counts(self):
        for path, kind in (("/var", "ext4"), ("/tmp", "tmpfs"), ("/tmp/x/y", "tmpfs"), ("/home/a b/c", "xfs"), ("/home", "ext4")):
            self.assertEqual(machine.file_system_of(Path(path), MOUNTS), kind, path)


class Processors(unittest.TestCase):
    def test_a_busy_share_is_a_share(self):
        self.assertTrue(0 <= machine.busy_share(0.1) <= 1)


if __name__ == "__main__":
    unittest.main()
