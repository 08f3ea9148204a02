"""The rows of ./scripts/bench: what is measured, beside which limit, and what has to be known to read it."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path
from typing import Optional

from lib import figures, ui
from lib.figures import Row, Sample
from lib.processes import Keeper
from lib.rig import CATCH_UP, IN_FLIGHT, Rig, Service, binary, free_address

SHAPES = ("per_core", "multi_thread")
CUSTOMERS = 10_000
MEMBERS = 2_000
# pgbench's clients: as many as a service has connections to its database, and as many as calls are in flight.
PGBENCH_CLIENTS = (8, IN_FLIGHT)
# About what a customer takes in Redis, sealed.
CACHED_BYTES = 256

# The least that an acknowledged write can be: a row changed, a row added, one commit.
TABLES = f"""
CREATE TABLE account (id integer PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE entry (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account integer NOT NULL,
    points bigint NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
INSERT INTO account SELECT id, 0 FROM generate_series(1, {MEMBERS}) AS id;
"""
TRANSACTION = f"""\\set account random(1, {MEMBERS})
BEGIN;
UPDATE account SET balance = balance + 10 WHERE id = :account;
INSERT INTO entry (account, points) VALUES (:account, 10);
COMMIT;
"""


class Reads:
    """GetCustomer beside a bare echo, at the service and through the gateway, in both shapes of the server."""

    # What has to be built: package and program.
    PROGRAMS = {"cqm-customer-data": "cqm-customer-data", "cqm-gateway": "cqm-gateway", "cqm-cli": "cqm"}

    def __init__(self, rig: Rig):
        self._rig = rig
        echo, echo_address = Keeper(rig.folder, "echo"), free_address()
        rig.start(echo, echo_address, [binary("load"), "echo", "--listen", echo_address])
        keys, self._token = rig.folder / "keys", rig.folder / "token"
        rig.tool([binary("cqm"), "dev-keys", keys])
        self._token.write_text(rig.tool(
            [binary("cqm"), "token", "--role", "service_manager", "--minutes", 120, "--key", keys / "signing.pem"]
        ))
        services = {shape: rig.service("customer-data", shape) for shape in SHAPES}
        gateways = {
            shape: rig.gateway(shape, services[shape].address, keys / "jwks.json", f'shape = "{shape}"\n')
            for shape in SHAPES
        }
        self._names = rig.seed("customers", services["per_core"], CUSTOMERS)
        rig.catch_up("customer_data")
        self._direct = {shape: Row(f"GetCustomer, {shape}", lambda service=service: self._directly(service))
                        for shape, service in services.items()}
        self._through = {shape: Row(f"GetCustomer through the gateway, {shape}",
                                    lambda gateway=gateway, shape=shape: self._by(gateway, services[shape]))
                         for shape, gateway in gateways.items()}
        bare = Row("bare tonic echo, multi_thread", lambda: rig.load("echo", echo_address, self._names, echo), limit=True)
        self.rows = [bare, *self._direct.values(), *self._through.values()]
        self._redis = self._redis_row()
        self.rows += [self._redis] if self._redis else []

    def _directly(self, service: Service) -> Sample:
        return self._rig.load("get-customer", service.address, self._names, service.keeper)

    def _by(self, gateway: Service, service: Service) -> Sample:
        # On which cores its connections to the service fall is luck that lasts as long as they: drawn anew.
        gateway.restart()
        return self._rig.load(
            "get-customer", gateway.address, self._names, gateway.keeper, service.keeper, token=self._token
        )

    def _redis_row(self) -> Optional[Row]:
        program = shutil.which("redis-benchmark") or shutil.which("valkey-benchmark")
        if program is None:
            return None
        socket = self._rig.pair.redis_url.replace("redis+unix://", "")
        command = [program, "-s", socket, "-c", IN_FLIGHT, "-r", CUSTOMERS, "--csv"]
        # Its keys must be there, or it measures misses. They are its own: the suite's stay.
        self._rig.tool([*command, "-t", "set", "-d", CACHED_BYTES, "-n", 10 * CUSTOMERS])
        # It counts calls, not seconds.
        speed = figures.sample_of_redis_benchmark(self._rig.tool([*command, "-t", "get", "-n", 50_000])).per_second
        count = max(1000, int(speed * self._rig.seconds))
        get = [*command, "-t", "get", "-n", count]
        return Row(
            f"{Path(program).name} -t get", lambda: figures.sample_of_redis_benchmark(self._rig.tool(get, patience=120))
        )

    def text(self) -> str:
        lines = ["## Reads", figures.table(self.rows)]
        notes = [
            f"{CUSTOMERS:,} customers, asked for evenly at random and answered from the cache: in the process for 2 s, "
            "then out of Redis. The gateway gets one caller's bearer token with every call (EdDSA; a token that was "
            "checked is remembered) and applies the contract's access policy; both it and the service behind it have the "
            "shape of the row, and it is started anew for each round. The echo takes and returns a customer's name.",
            *[f"{what}: {self._faster(rows)}." for what, rows in
              (("GetCustomer", self._direct), ("through the gateway", self._through))],
        ]
        if self._redis and self._redis.per_second:
            ratios = ", ".join(f"{row.per_second / self._redis.per_second:.2f} ({shape})" for shape, row in self._direct.items())
            notes.append(f"The read from the cache to {self._redis.title}, {CACHED_BYTES} bytes on the unix socket: {ratios}.")
        else:
            notes.append("redis-benchmark is not on this machine: the cached read stands beside the echo alone.")
        return "\n\n".join([*lines, *figures.failures(self.rows), *notes])

    @staticmethod
    def _faster(rows: dict) -> str:
        first, second = sorted(rows, key=lambda shape: rows[shape].per_second, reverse=True)
        if not rows[second].per_second:
            return "one of the shapes has answered nothing"
        gain = rows[first].per_second / rows[second].per_second - 1
        return f"{first} is faster than {second} by {gain:.0%}"


class Writes:
    """EarnPoints and RegisterComplaint at their services beside the least that Postgres can be asked to keep."""

    PROGRAMS = {"cqm-loyalty": "cqm-loyalty", "cqm-complaints": "cqm-complaints"}

    def __init__(self, rig: Rig):
        self._rig = rig
        loyalty, complaints = rig.service("loyalty"), rig.service("complaints")
        self._names = rig.seed("members", loyalty, MEMBERS)
        rig.catch_up("loyalty")
        self._behind: dict[str, list[tuple[int, float]]] = {}
        self.rows = [
            Row("EarnPoints", lambda: self._call("earn-points", loyalty, "loyalty")),
            Row("RegisterComplaint", lambda: self._call("register-complaint", complaints, "complaints")),
        ]
        program = rig.pair.postgres_programs / "pgbench"
        self._pgbench = program if program.exists() else None
        if self._pgbench:
            rig.sql("bench", TABLES)
            (rig.folder / "transaction.sql").write_text(TRANSACTION)
            self.rows += [Row(f"pgbench, {clients} clients", lambda clients=clients: self._bench(clients), limit=True)
                          for clients in PGBENCH_CLIENTS]

    def _call(self, call: str, service: Service, database: str) -> Sample:
        sample = self._rig.load(call, service.address, self._names, service.keeper)
        self._behind.setdefault(database, []).append(self._rig.catch_up(database))
        return sample

    def _bench(self, clients: int) -> Sample:
        return self._rig.pgbench(self._rig.folder / "transaction.sql", clients, "bench")

    def text(self) -> str:
        notes = [
            f"{MEMBERS:,} members, chosen evenly at random; services in their default shape. pgbench runs the least that an "
            "acknowledged write can be, one UPDATE and one INSERT in a transaction, prepared, on the same Postgres. The "
            "services write what the suite promises beside that: the request's key and answer, the ledger's entry and its "
            "lot or the complaint's timeline, and the events, and their processes also give the events their "
            "positions in the log.",
        ]
        for database, behind in self._behind.items():
            waiting = statistics.median(count for count, _ in behind)
            slowest = max(seconds for _, seconds in behind)
            until = f"the last of them for {ui.seconds(slowest)}" if slowest < CATCH_UP else f"some for over {ui.seconds(CATCH_UP)}"
            notes.append(f"{database}: {waiting:,.0f} events waited for their position when the load ended (median), {until}.")
        if not self._pgbench:
            notes.append("pgbench is not beside this Postgres: there is no limit to compare with.")
        return "\n\n".join(["## Durable writes", figures.table(self.rows), *figures.failures(self.rows), *notes])
