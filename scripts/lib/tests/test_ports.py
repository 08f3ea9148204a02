"""Whether a port is free, and who holds it."""

import os
import socket
import unittest

from lib import ports, ui

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:C382 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 00000000 100 0 0 10 0
   1: 0100007F:C382 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 00000000 100 0 0 10 0
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 00000000 100 0 0 10 0
"""


class Ports(unittest.TestCase):
    def test_only_the_listener_on_the_port_counts(self):
        self.assertEqual(ports.listening_inodes(TABLE, 50050), {"4711"})
        self.assertEqual(ports.listening_inodes(TABLE, 22), {"4713"})
        self.assertEqual(ports.listening_inodes(TABLE, 39321), set())

    def test_a_taken_port_is_explained_with_its_holder(self):
        with socket.socket() as listener:
            # As the suite does: a port shared by SO_REUSEPORT is taken all the same.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            port = listener.getsockname()[1]
            with self.assertRaisesRegex(ui.Failure, f"port {port} is taken.*process {os.getpid()} "):
                ports.must_be_free("127.0.0.1", port)
            self.assertTrue(ports.open_for_calls("127.0.0.1", port))
        ports.must_be_free("127.0.0.1", port)
        self.assertFalse(ports.open_for_calls("127.0.0.1", port))

    def test_a_port_that_is_taken_is_not_proposed(self):
        self.assertNotEqual(ports.another(50150), 50150)
