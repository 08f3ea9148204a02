"""Says whether a TCP port is free, and who holds it."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Optional

from lib import ui
from lib.processes import command_line

LISTEN = "0A"


def free(host: str, port: int) -> bool:
    """Binds without SO_REUSEPORT: the suite sets it, and would silently share the port with another one of its kind."""
    with socket.socket(socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise ui.Failure(f"port {port} needs rights that you do not have. Choose another: --port {another(port)}") from error
        except OSError:
            return False
        # Binding beside a listener can succeed with SO_REUSEADDR on some kernels, listening cannot.
        try:
            probe.listen(1)
        except OSError:
            return False
        return True


def open_for_calls(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def holder(port: int) -> Optional[str]:
    """`process 4711 (redis-server *:6379)`; None when the system does not tell."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            inodes |= listening_inodes(Path(table).read_text(), port)
        except OSError:
            continue
    for process in Path("/proc").iterdir() if inodes else ():
        if not process.name.isdigit():
            continue
        if any(f"socket:[{inode}]" in _open_files(process) for inode in inodes):
            command = " ".join(command_line(int(process.name)))
            return f"process {process.name} ({command[:120]})"
    return None


def _open_files(process: Path) -> set[str]:
    """What a process has open; nothing for another user's, and without what it closes meanwhile."""
    files = set()
    with contextlib.suppress(OSError):
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                files.add(os.readlink(link))
    return files


def listening_inodes(table: str, port: int) -> set[str]:
    """The inodes of the sockets that listen on the port, out of /proc/net/tcp's text."""
    inodes = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
            inodes.add(fields[9])
    return inodes


def another(port: int) -> int:
    """A port to propose, which everybody may have and which is not this one."""
    return 50150 if port != 50150 else 50250


def must_be_free(host: str, port: int) -> None:
    if free(host, port):
        return
    who = holder(port)
    held = f"it is held by {who}" if who else "the system does not tell by whom (perhaps another user's process)"
    raise ui.Failure(
        f"port {port} is taken: {held}.\n"
        f"       Stop that process, or choose another port: ./scripts/dev up --port {another(port)}"
    )
