"""A private Postgres and Redis that listen on unix sockets only."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lib import places, tools, ui
from lib.processes import Keeper, command_line, identify

ROLE = "cqm"
SUPERUSER = "postgres"
DATABASES = ("customer_data", "complaints", "surveys", "notifications", "loyalty")
TEST_DATABASE = "cqm_test"


@dataclass(frozen=True)
class Profile:
    """What the data is worth."""

    settings: tuple[tuple[str, str], ...]
    databases: tuple[str, ...]
    die_with_script: bool


# Development's data is kept: as safe on the disk as in production.
KEPT = Profile((("max_connections", "200"),), DATABASES, die_with_script=False)

# Tests' data is thrown away: nothing waits for the disk. Each test makes its own schema in this database.
_FAST = (("fsync", "off"), ("synchronous_commit", "off"), ("full_page_writes", "off"), ("max_connections", "400"))
THROWN_AWAY = Profile(_FAST, (TEST_DATABASE,), die_with_script=True)
# The same for tests that a developer starts one by one: they stay until `./scripts/dev down`.
FOR_TESTS = Profile(_FAST, (TEST_DATABASE,), die_with_script=False)


class Servers:
    """One Postgres and one Redis: records and logs under `base`, data in `data`, sockets in `sockets`."""

    def __init__(self, base: Path, data: Path, sockets: Path, profile: Profile):
        self.sockets = sockets
        self._base = base
        self._data = data
        self._profile = profile
        self.postgres = Keeper(base, "postgres")
        self.redis = Keeper(base, "redis")

    @property
    def redis_url(self) -> str:
        return f"redis+unix://{self._redis_socket}"

    @property
    def postgres_url(self) -> str:
        """Without a database: whoever connects appends ` dbname=…`."""
        return f"host={self.sockets} user={ROLE}"

    def database_url(self, database: str) -> str:
        return f"{self.postgres_url} dbname={database}"

    @functools.cached_property
    def postgres_programs(self) -> Path:
        """The folder with postgres, initdb, psql."""
        return tools.postgres(self._data)

    @functools.cached_property
    def redis_program(self) -> Path:
        return tools.redis()

    def start(self) -> None:
        """Starts what does not run yet; returns when both answer."""
        self._start_postgres()
        self._start_redis()

    def stop(self) -> list[str]:
        """Postgres first: its clients are gone, and what it must write down matters more. Returns a line for each."""
        lines = []
        # SIGINT: fast shutdown. SIGQUIT: immediate, the next start recovers.
        endings = [(signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0)]
        for keeper, signals in ((self.postgres, endings), (self.redis, [(signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)])):
            ended = keeper.stop(signals)
            if ended:
                hurried = "" if ended == signals[0][0].name else f" (only by {ended})"
                lines.append(f"{keeper.name} stopped{hurried}{'' if self._profile is KEPT else ' (for tests)'}")
        return lines

    def postgres_answers(self) -> bool:
        return subprocess.run(
            [self.postgres_programs / "pg_isready", "--quiet", "--host", self.sockets, "--timeout", "1"],
            env=_clean_environment(), capture_output=True,
        ).returncode == 0

    def redis_answers(self) -> bool:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(self._redis_socket))
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    @property
    def _redis_socket(self) -> Path:
        return self.sockets / "redis.sock"

    def _start_postgres(self) -> None:
        # Found, or fetched, first of all: both show their own progress.
        programs = self.postgres_programs
        account = places.server_account()
        if not (self._data / "PG_VERSION").exists():
            self._make_cluster(account)
        if not self.postgres.running() and not self._adopt():
            settings = {"listen_addresses": "", "port": "5432", "unix_socket_directories": str(self.sockets)}
            settings.update(self._profile.settings)
            command = [programs / "postgres", "-D", self._data]
            for name, value in settings.items():
                command += ["-c", f"{name}={value}"]
            self.postgres.start(
                command,
                account=account,
                env=_clean_environment(),
                dies_with_script=signal.SIGQUIT if self._profile.die_with_script else None,
            )
        with ui.working("starting Postgres"):
            self.postgres.wait_until(self.postgres_answers, patience=90)
        self._make_databases()

    def _make_cluster(self, account) -> None:
        """Makes it beside its place and moves it there, so that an interrupted run leaves no half of one."""
        if self._data.exists() and any(self._data.iterdir()):
            raise ui.Failure(f"{self._data} is no Postgres data folder, and not empty: move it away.")
        beside = self._data.with_name(self._data.name + ".new")
        subprocess.run(["rm", "-rf", "--", beside], check=True)
        places.private_folder(beside, account)
        identity = {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}
        with ui.working("creating a Postgres cluster"):
            answer = subprocess.run(
                [self.postgres_programs / "initdb", "--pgdata", beside, "--username", SUPERUSER, "--auth-local", "trust",
                 "--auth-host", "reject", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions",
                 *([] if self._profile is KEPT else ["--no-sync"])],
                cwd="/", env=_clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, **identity,
            )
        if answer.returncode:
            raise ui.Failure(f"initdb failed:\n{answer.stdout}{answer.stderr}".rstrip())
        beside.replace(self._data)

    def _adopt(self) -> bool:
        """Takes up a server of ours whose record was lost: the one that Postgres itself wrote down for our data."""
        try:
            pid = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return False
        process = identify(pid)
        if process is None or str(self._data) not in command_line(pid):
            return False
        self.postgres.remember(process)
        return True

    def _make_databases(self) -> None:
        statements = [
            f"SELECT 'CREATE ROLE {ROLE} LOGIN CREATEDB' "
            f"WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') \\gexec"
        ]
        statements += [
            f"SELECT 'CREATE DATABASE {database} OWNER {ROLE}' "
            f"WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{database}') \\gexec"
            for database in self._profile.databases
        ]
        answer = subprocess.run(
            [self.postgres_programs / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", f"host={self.sockets} user={SUPERUSER} dbname=postgres"],
            input="\n".join(statements), cwd="/", env=_clean_environment(), capture_output=True, text=True,
        )
        if answer.returncode:
            raise ui.Failure(f"the databases could not be made:\n{answer.stderr.strip()}")

    def _start_redis(self) -> None:
        if not self.redis.running():
            self.redis.start(
                [self.redis_program, "--port", "0", "--unixsocket", self._redis_socket, "--unixsocketperm", "700",
                 # A cache and nothing else: never on the disk, and bounded.
                 "--save", "", "--appendonly", "no", "--maxmemory", "256mb", "--maxmemory-policy", "allkeys-lru",
                 "--daemonize", "no", "--dir", self.sockets],
                dies_with_script=signal.SIGTERM if self._profile.die_with_script else None,
            )
        with ui.working("starting Redis"):
            self.redis.wait_until(self.redis_answers, patience=30)


def development() -> Servers:
    """The pair behind `./scripts/dev up`."""
    home = places.server_home()
    return Servers(places.DEV, home / "postgres", places.socket_folder("sockets"), KEPT)


def for_tests() -> Servers:
    """The pair behind `./scripts/dev env`: apart from development's, because tests wipe theirs."""
    home = places.server_home()
    base = places.DEV / "test"
    base.mkdir(mode=0o700, exist_ok=True)
    return Servers(base, home / "test-postgres", places.socket_folder("test-sockets"), FOR_TESTS)


@contextlib.contextmanager
def thrown_away():
    """A fresh pair for one run of the tests, gone afterwards whatever happens."""
    base = places.temporary_folder("cqm-test-")
    base.chmod(0o711)
    account = places.server_account()
    pair = Servers(base, base / "postgres", places.private_folder(base / "sockets", account), THROWN_AWAY)
    try:
        pair.start()
        yield pair
    finally:
        try:
            pair.stop()
        finally:
            subprocess.run(["rm", "-rf", "--", base], check=False)


def test_environment(pair: Servers) -> dict:
    """What the tests read. The programs are for tests that kill and restart servers of their own."""
    return {
        "CQM_TEST_POSTGRES_URL": pair.database_url(TEST_DATABASE),
        "CQM_TEST_REDIS_URL": pair.redis_url,
        "CQM_TEST_POSTGRES_BIN": str(pair.postgres_programs),
        "CQM_TEST_REDIS_BIN": str(pair.redis_program),
    }


def _clean_environment() -> dict:
    """The caller's, without what would lead Postgres' programs elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return {**kept, "LC_ALL": "C"}
