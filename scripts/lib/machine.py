"""What a figure was taken on."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from lib import git


def processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1).strip() if found else os.uname().machine


def memory() -> str:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return f"{int(found.group(1)) / 1024 / 1024:.0f} GiB" if found else "memory unknown"


def file_system(path: Path) -> str:
    """The type of the one that holds the path: `ext4`."""
    return file_system_of(path.resolve(), _read("/proc/mounts"))


def file_system_of(path: Path, mounts: str) -> str:
    kind, longest = "an unknown file system", -1
    for line in mounts.splitlines():
        _, point, name, *_ = line.split()
        # Spaces are written as octal.
        point = Path(point.replace("\\040", " "))
        if (path == point or point in path.parents) and len(point.parts) >= longest:
            kind, longest = name, len(point.parts)
    return kind


def busy_share(seconds: float = 1.0) -> float:
    """The part of the processors' time that is in use now, 0 to 1."""
    before = _times()
    time.sleep(seconds)
    idle, total = (after - earlier for after, earlier in zip(_times(), before))
    return 1 - idle / total if total else 0.0


def _times() -> tuple[int, int]:
    """Idle and all time of all processors since the start, in ticks."""
    fields = [int(field) for field in _read("/proc/stat").split("\n", 1)[0].split()[1:]]
    # idle and iowait; guests' time is in user's already.
    return fields[3] + fields[4], sum(fields[:8])


def commit() -> str:
    """`5153e32`, with `and changes` when the work tree differs from it."""
    head = git.asked("rev-parse", "--short", "HEAD")
    if not head:
        return "unknown"
    return f"{head} and changes" if git.asked("status", "--porcelain") else head


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
