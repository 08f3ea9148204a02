"""Starts processes that outlive the script, recognises them later, and stops them. Nothing else is ever signalled."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Optional, Sequence

from lib import ui
from lib.places import Account


@dataclass(frozen=True)
class Process:
    """A process as it was when it was started. Pids are used again; the start's clock tick and the boot tell them apart."""

    pid: int
    started: int
    boot: str

    def alive(self) -> bool:
        return self == identify(self.pid)


def identify(pid: int) -> Optional[Process]:
    """The process that has this pid now; None when there is none, or when it has ended and only waits to be reaped."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            # The name stands in brackets and may hold spaces and brackets itself.
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in "ZX":
        return None
    return Process(pid, int(fields[19]), _boot())


def command_line(pid: int) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [os.fsdecode(part) for part in file.read().split(b"\0") if part]
    except OSError:
        return []


def _boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


# The children of this very run of a script: they must be reaped when they end.
_children: dict[int, subprocess.Popen] = {}


def _reap() -> None:
    for child in list(_children.values()):
        if child.poll() is not None:
            del _children[child.pid]


class Keeper:
    """One named process: its record and its log under a base folder."""

    def __init__(self, base: Path, name: str):
        self.name = name
        self._base = str(base)
        self.log = base / "log" / f"{name}.log"
        self._record = base / "run" / f"{name}.json"

    def running(self) -> Optional[Process]:
        """The process that was started under this name, when it still runs.

        A copy of the repository brings the original's records along; their base gives them away.
        """
        try:
            record = json.loads(self._record.read_text())
            process = Process(record["pid"], record["started"], record["boot"])
        except (FileNotFoundError, ValueError, KeyError):
            return None
        return process if record.get("base") == self._base and process.alive() else None

    def remember(self, process: Process) -> None:
        self._record.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self._record.with_suffix(".new")
        beside.write_text(json.dumps({**asdict(process), "base": self._base}) + "\n")
        beside.replace(self._record)

    def start(
        self,
        command: Sequence[object],
        *,
        account: Optional[Account] = None,
        cwd: Path = Path("/"),
        env: Optional[dict] = None,
        dies_with_script: Optional[signal.Signals] = None,
        own_session: bool = True,
    ) -> Process:
        """Starts it in a session of its own: Ctrl-C in the terminal reaches the script alone, which stops things in order.

        `dies_with_script`: the signal it gets when the script dies, however that comes about. Without `own_session` it has
        a process group of its own alone, which Ctrl-C does not reach either.
        """
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".previous.log"))
        as_account = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
        with open(self.log, "wb") as log:
            try:
                child = subprocess.Popen(
                    [os.fspath(part) if isinstance(part, os.PathLike) else str(part) for part in command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=cwd,
                    env=env,
                    start_new_session=own_session,
                    preexec_fn=_before_program(dies_with_script, own_session),
                    **as_account,
                )
            except OSError as error:
                raise ui.Failure(f"{self.name} cannot be started: {error}") from error
        _children[child.pid] = child
        process = identify(child.pid)
        if process is None:
            raise ui.Failure(f"{self.name} ended at once.\n{self.last_words()}")
        self.remember(process)
        return process

    def wait_until(self, ready, patience: float) -> None:
        """Waits until `ready()` holds; fails with the log's last lines when the process ends or the time is over."""
        deadline = time.monotonic() + patience
        process = self.running()
        while not ready():
            if process is None or not process.alive():
                raise ui.Failure(f"{self.name} ended before it was ready.\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise ui.Failure(f"{self.name} was not ready within {ui.seconds(patience)}.\n{self.last_words()}")
            time.sleep(0.05)

    def stop(self, signals: Sequence[tuple[signal.Signals, float]]) -> Optional[str]:
        """Sends each signal in turn until the process is gone, waiting the seconds beside it. Returns how it ended."""
        process = self.running()
        ended = None
        if process is not None:
            for number, patience in signals:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
                ended = number.name
                if _gone(process, patience):
                    break
            else:
                raise ui.Failure(f"{self.name} (process {process.pid}) does not end. Its log: {self.log}")
        _reap()
        with contextlib.suppress(FileNotFoundError):
            self._record.unlink()
        return ended

    def last_words(self, lines: int = 30) -> str:
        """The log's end, indented, with its path."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 64 * 1024))
                tail = file.read().decode(errors="replace").splitlines()[-lines:]
        except FileNotFoundError:
            tail = []
        return "\n".join([f"The end of {self.log}:", *(f"    {line}" for line in tail or ["(empty)"])])


def _gone(process: Process, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while process.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _before_program(dies_with_parent: Optional[signal.Signals], own_session: bool):
    """What to do between fork and exec, after the account was changed: a change would clear the wish to die."""
    if own_session and not dies_with_parent:
        return None
    prctl = ctypes.CDLL(None).prctl
    pr_set_pdeathsig = 1

    def run() -> None:
        if dies_with_parent:
            prctl(pr_set_pdeathsig, int(dies_with_parent))
        if not own_session:
            os.setpgid(0, 0)

    return run
