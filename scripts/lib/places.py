"""Where things stand: the repository, its git-ignored `.dev`, and the places that Postgres must be able to reach."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pwd
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from lib import ui

ROOT = Path(__file__).resolve().parents[2]
DEV = ROOT / ".dev"
STATE = DEV / "state.json"

# A socket's path fits into 107 bytes; Postgres appends this name to the folder's.
SOCKET_PATH_LIMIT = 107
POSTGRES_SOCKET = ".s.PGSQL.5432"
# In the state: where the sockets of a pair of servers are, when not beside their data.
SOCKETS = "sockets:"


@dataclass(frozen=True)
class Account:
    """Whom Postgres runs as when root starts it, because it refuses root."""

    uid: int
    gid: int


def server_account() -> Optional[Account]:
    """None means: as the user who runs the script."""
    if os.geteuid() != 0:
        return None
    try:
        nobody = pwd.getpwnam("nobody")
        return Account(nobody.pw_uid, nobody.pw_gid)
    except KeyError:
        return Account(65534, 65534)


def reachable(path: Path, account: Optional[Account]) -> bool:
    """Whether the account may pass through every folder on the way to `path`. Root's home often is 0700."""
    if account is None:
        return True
    for folder in [path, *path.parents]:
        try:
            status = folder.stat()
        except FileNotFoundError:
            continue
        if status.st_uid == account.uid:
            allowed = status.st_mode & stat.S_IXUSR
        elif status.st_gid == account.gid:
            allowed = status.st_mode & stat.S_IXGRP
        else:
            allowed = status.st_mode & stat.S_IXOTH
        if not allowed:
            return False
    return True


def dev_folder() -> Path:
    """`.dev`, made when missing. Passable but not listable by others: Postgres may run as another account."""
    DEV.mkdir(mode=0o711, exist_ok=True)
    if os.geteuid() == 0:
        DEV.chmod(0o711)
    return DEV


def read_state() -> dict:
    """What was recorded for this very folder: a copy of the repository does not take over the original's."""
    try:
        state = json.loads(STATE.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ui.Failure(f"{STATE} is damaged ({error}). Delete it, then run ./scripts/dev up again.") from error
    return state if state.get("root") == str(ROOT) else {}


def update_state(**values) -> None:
    """Merges the values in; the file is replaced whole, so a crash leaves the old one or the new one."""
    dev_folder()
    text = json.dumps({**read_state(), "root": str(ROOT), **values}, indent=2)
    beside = STATE.with_suffix(".new")
    beside.write_text(text + "\n")
    beside.replace(STATE)


def server_home() -> Path:
    """Where Postgres' data and private tools are kept: `.dev`, or for root in an unreachable home a folder under /var.

    The latter is recorded, so that data once made is found again.
    """
    recorded = read_state().get("home")
    if recorded:
        return Path(recorded)
    account = server_account()
    if reachable(dev_folder(), account):
        return DEV
    digest = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    for parent in (Path("/var/lib"), Path("/var/tmp")):
        home = parent / f"cqm-dev-{digest}"
        with contextlib.suppress(OSError):
            home.mkdir(mode=0o755, exist_ok=True)
            if home.lstat().st_uid == os.geteuid() and reachable(home, account):
                ui.say(f"    {ROOT} is closed to the account that Postgres runs as: its data goes to {home}")
                update_state(home=str(home))
                return home
    raise ui.Failure(
        f"Postgres refuses to run as root, and the account it would run as cannot reach {ROOT}. "
        "Work as an ordinary user, or clone to a folder that others may enter."
    )


def give(path: Path, account: Optional[Account]) -> None:
    """Makes the account the owner, when there is one."""
    if account is not None:
        os.chown(path, account.uid, account.gid)


def private_folder(path: Path, account: Optional[Account]) -> Path:
    """A folder for the account alone, made when missing."""
    path.mkdir(mode=0o700, exist_ok=True)
    give(path, account)
    path.chmod(0o700)
    return path


def short_enough(folder: Path) -> bool:
    return len(os.fsencode(folder / POSTGRES_SOCKET)) <= SOCKET_PATH_LIMIT


def temporary_folder(prefix: str) -> Path:
    """A fresh folder with a short path: sockets go into it."""
    short = Path("/tmp")
    parent = short if os.access(short, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    return Path(tempfile.mkdtemp(prefix=prefix, dir=parent))


def socket_folder(name: str) -> Path:
    """The folder of a pair of servers' sockets: beside the data, or a short recorded one when that path is too long."""
    account = server_account()
    beside = server_home() / name
    if short_enough(beside):
        return private_folder(beside, account)
    key = SOCKETS + name
    recorded = read_state().get(key)
    if recorded and _owned(Path(recorded), account):
        return Path(recorded)
    folder = private_folder(temporary_folder("cqm-"), account)
    update_state(**{key: str(folder)})
    return folder


def recorded_socket_folders() -> list[Path]:
    """The short ones outside the repository that are still there and ours."""
    recorded = [Path(value) for key, value in read_state().items() if key.startswith(SOCKETS)]
    return [folder for folder in recorded if _owned(folder, server_account())]


def _owned(folder: Path, account: Optional[Account]) -> bool:
    """Whether a recorded temporary folder is still ours: after a restart somebody else may have made one of that name."""
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    owner = account.uid if account else os.geteuid()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == owner


@contextlib.contextmanager
def exclusive(name: str = "lock"):
    """One script at a time changes what runs."""
    with open(dev_folder() / name, "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with ui.working("waiting for another script that is starting or stopping the suite"):
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield
