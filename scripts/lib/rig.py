"""What ./scripts/bench measures on: servers of its own, processes of the suite, and the programs that make load."""

from __future__ import annotations

import functools
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Optional

from lib import figures, places, ports, servers, tools, ui
from lib.figures import Sample
from lib.processes import Keeper

PROFILE = "release"
IN_FLIGHT = 64
CONNECTIONS = 8
WARMUP = 1.0
# Seconds that the events of one measurement may take to get their positions before the next one begins.
CATCH_UP = 20.0
ENDINGS = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))
# What the tests sign passes with: the load generator calls services as the gateway does.
PASSES = places.ROOT / "services/common/testkit/passes"
# Any 32 bytes: the data is thrown away.
CACHE_KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

# As in production: every commit is on the disk before it is acknowledged.
DURABLE = servers.Profile(
    (("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on"), ("max_connections", "200")),
    ("customer_data", "complaints", "loyalty", "bench"),
    die_with_script=True,
)


class Rig:
    """What the sections share: Postgres and Redis, a folder, and the processes, all stopped at the end."""

    def __init__(self, rounds: int, seconds: float):
        self.rounds = rounds
        self.seconds = seconds
        self._keepers: list[Keeper] = []

    def __enter__(self) -> "Rig":
        home = places.server_home()
        self.folder = places.dev_folder() / "bench"
        self.pair = servers.Servers(
            self.folder, home / "bench-postgres", places.socket_folder("bench-sockets"), DURABLE
        )
        try:
            # What a run that was killed has left.
            self._remove()
            self.folder.mkdir(mode=0o700)
            ui.heading("Starting a Postgres and a Redis of this run's own")
            self.pair.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        try:
            self.stop_processes()
        finally:
            with ui.working("stopping everything"):
                self._remove()

    def _remove(self) -> None:
        self.pair.stop()
        data = places.server_home() / "bench-postgres"
        for path in (self.folder, data, data.with_name(data.name + ".new")):
            subprocess.run(["rm", "-rf", "--", path], check=True)

    def stop_processes(self) -> None:
        while self._keepers:
            self._keepers.pop().stop(ENDINGS)

    def start(self, keeper: Keeper, address: str, command: list, **environment: str) -> None:
        """Starts a process and waits until it listens."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CQM")}
        # In one session with the load generator: the scheduler weighs sessions against each other (autogroup), and within
        # one alone does a program of the lowest class give way at once.
        keeper.start(command, env={**clean, **environment}, dies_with_script=signal.SIGKILL, own_session=False)
        if keeper not in self._keepers:
            self._keepers.append(keeper)
        host, _, port = address.rpartition(":")
        keeper.wait_until(lambda: ports.open_for_calls(host, int(port)), patience=30)

    def service(self, name: str, shape: Optional[str] = None, more: str = "", title: str = "") -> "Service":
        """A service's process, its database up to date; without a shape in the one that is its default. `more` is TOML."""
        title = title or (f"{name}-{shape}" if shape else name)
        address = free_address()
        database = name.replace("-", "_")
        configuration = (
            f'[server]\nlisten = "{address}"\nplaintext = true\n'
            + (f'shape = "{shape}"\n' if shape else "")
            + '[server.drain]\nsettle = "0s"\n'
            f'[passes]\nkeys = "{PASSES / "keys.pem"}"\n'
            f'[database]\nurl = "{self.pair.database_url(database)}"\n'
            f'[cache]\nredis_url = "{self.pair.redis_url}"\nkey = "{CACHE_KEY}"\n'
            + more
            + _own_section(name)
        )
        service = Service(self, title, address, [binary(f"cqm-{name}"), "serve"], configuration)
        self.migrate(name, database, service.file)
        service.start()
        return service

    def migrate(self, name: str, database: str, file: Optional[Path] = None) -> None:
        """Gives a database the tables of a service."""
        if file is None:
            file = self.folder / f"{database}.toml"
            file.write_text(
                f'[database]\nurl = "{self.pair.database_url(database)}"\n'
                f'[cache]\nredis_url = "{self.pair.redis_url}"\nkey = "{CACHE_KEY}"\n'
                + _own_section(name)
            )
        self.tool([binary(f"cqm-{name}"), "migrate"], CQM_CONFIG=str(file))

    def gateway(
        self, title: str, behind: str, jwks: Path, server: str,
        rate: Optional[str] = "{ per_second = 1000000, burst = 1000000 }",
    ) -> "Service":
        """The edge before one address; not started yet. `server`: more TOML of that section. `rate`: the quota of every kind
        of call, on and out of reach; None: as it comes.

        The other services' addresses lead there too: they are never called.
        """
        address = free_address()
        backends = "".join(f'{database} = "http://{behind}"\n' for database in servers.DATABASES)
        rates = f"read = {rate}\nwrite = {rate}\nbulk = {rate}\n" if rate else ""
        configuration = (
            f'[server]\nlisten = "{address}"\nplaintext = true\n{server}[server.drain]\nsettle = "0s"\n'
            f"[service.backends]\n{backends}"
            f'[service.quota]\nredis_url = "{self.pair.redis_url}"\n{rates}'
            '[service.identity.issuers.dev]\nissuer = "cqm-development"\naudience = "cqm"\n'
            f'jwks = "{jwks}"\n'
            f'[service.passes]\nkey = "{PASSES / "signing.pem"}"\n'
        )
        return Service(self, f"gateway-{title}", address, [binary("cqm-gateway"), "serve"], configuration)

    def tool(self, command: list, patience: float = 60.0, **environment: str) -> str:
        """Runs a program to its end and returns what it printed."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("CQM", "PG"))}
        shown = " ".join(map(str, command[:3]))
        try:
            ran = subprocess.run(
                [str(part) for part in command], env={**clean, **environment}, cwd=self.folder,
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience,
            )
        except subprocess.TimeoutExpired:
            raise ui.Failure(f"`{shown}` took longer than {ui.seconds(patience)}.\n{self._logs()}") from None
        if ran.returncode:
            raise ui.Failure(f"`{shown}` failed:\n{ran.stderr.strip()}\n{self._logs()}".rstrip())
        return ran.stdout

    def sql(self, database: str, statements: str) -> str:
        program = self.pair.postgres_programs / "psql"
        return self.tool([program, "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statements, self.pair.database_url(database)])

    def seed(self, what: str, service: "Service", count: int) -> Path:
        """Fills a service and returns the file with the names of what it holds."""
        file = self.folder / f"{what}.names"
        with ui.working(f"{count:,} {what}"):
            file.write_text(self.tool(
                [binary("load"), "seed", what, "--address", service.address, "--count", count], patience=150
            ))
        return file

    def load(
        self, call: str, address: str, names: Path, *watched: Keeper, token: Optional[Path] = None,
        callers: int = IN_FLIGHT, spread: str = "even", seconds: Optional[float] = None,
        connections: int = CONNECTIONS, more: tuple = (),
    ) -> Sample:
        """One measurement by the load generator."""
        seconds = seconds or self.seconds
        command = [
            binary("load"), "measure", call, "--address", address, "--names", names, "--seconds", seconds,
            "--warmup", WARMUP, "--in-flight", callers, "--connections", min(connections, callers), "--spread", spread, *more,
        ]
        command += ["--token", token] if token else []
        for keeper in watched:
            process = keeper.running()
            if process is None:
                raise ui.Failure(f"{keeper.name} has ended.\n{keeper.last_words()}")
            command += ["--watch", process.pid]
        return figures.sample_of(json.loads(self.tool(command, patience=seconds + 60)))

    def pgbench(self, script: Path, clients: int, database: str) -> Sample:
        """One measurement of Postgres by its own load generator, over prepared statements."""
        prefix = "pgbench-log"
        for old in self.folder.glob(f"{prefix}.*"):
            old.unlink()
        self.tool(
            [self.pair.postgres_programs / "pgbench", "--no-vacuum", "--protocol=prepared", f"--client={clients}",
             f"--jobs={min(clients, os.cpu_count() or 1)}", f"--time={round(WARMUP + self.seconds) + 1}",
             f"--file={script}", "--log", f"--log-prefix={prefix}",
             f"--host={self.pair.sockets}", f"--username={servers.ROLE}", database],
            patience=self.seconds + 60,
        )
        return figures.sample_of_pgbench(self.folder.glob(f"{prefix}.*"), WARMUP, self.seconds)

    def catch_up(self, database: str) -> tuple[int, float]:
        """Waits until every event has its position: the next measurement must not pay for this one's.

        Returns how many had to wait, and the seconds; infinite when it takes too long.
        """
        begin, count = time.monotonic(), "SELECT count(*) FROM event_pending"
        waiting = left = int(self.sql(database, count))
        while left and time.monotonic() - begin < CATCH_UP:
            time.sleep(0.05)
            left = int(self.sql(database, count))
        return waiting, float("inf") if left else time.monotonic() - begin

    def _logs(self) -> str:
        return "\n".join(keeper.last_words(5) for keeper in self._keepers)


class Service:
    """A process of the suite that can be started again under the same configuration."""

    def __init__(self, rig: Rig, title: str, address: str, command: list, configuration: str):
        self.address = address
        self.keeper = Keeper(rig.folder, title)
        self.file = rig.folder / f"{title}.toml"
        self.file.write_text(configuration)
        self._rig = rig
        self._command = command

    def start(self) -> None:
        self._rig.start(self.keeper, self.address, self._command, CQM_CONFIG=str(self.file))

    def restart(self) -> None:
        self.keeper.stop(ENDINGS)
        self.start()


def _own_section(name: str) -> str:
    """What a service has no default for."""
    return f'[service]\nvoucher_keys = ["{CACHE_KEY}"]\n' if name == "loyalty" else ""


def free_address() -> str:
    """An address that is free now. Somebody may take it before the process does; then the process says so and ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return "{}:{}".format(*probe.getsockname())


def binary(name: str) -> Path:
    return _target() / PROFILE / name


@functools.lru_cache(maxsize=None)
def _target() -> Path:
    return tools.target_folder()
