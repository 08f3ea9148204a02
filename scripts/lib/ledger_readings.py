"""What ./scripts/bench loyalty measures: durable earns beside Postgres alone, by callers, by spread, by history."""

from __future__ import annotations

from pathlib import Path

from lib import figures, places, ui
from lib.figures import Row, Sample
from lib.picture import Line, chart
from lib.processes import Keeper
from lib.rig import IN_FLIGHT, Rig, binary, free_address

CALLERS = (1, 16, IN_FLIGHT, 256)
MEMBERS = 10_000
# Entries after which the rate is measured again, and the seconds of load between two looks at how many there are.
HISTORY = 1_000_000
STRETCH = 20.0
PICTURE = places.ROOT / "services" / "adr" / "earns-by-callers.svg"

# What one earn writes, row for row and index for index, as one statement: the tables are the service's own, made by its
# own migrations. The hash is taken from the row before, as the service's is; the answer and the payload are as long as
# the service's are. pgbench takes a colon for a variable of its own, in texts too.
EARN = f"""\\set number random(1, {MEMBERS})
WITH ours AS (
    UPDATE member
    SET version = version + 1, entry_count = entry_count + 1, hash = sha256(hash), available = available + 10,
        issued = issued + 10, update_time = now()
    WHERE customer_id = CAST(lpad(to_hex(CAST(:number AS integer)), 32, '0') AS uuid)
    RETURNING *
), made AS MATERIALIZED (
    SELECT gen_random_uuid() AS id, gen_random_uuid() AS request_id, * FROM ours
), lots AS (
    INSERT INTO lot (customer_id, id, amount, remaining, held, spent, expired, reversed, pending, earned_at, available_at)
    SELECT customer_id, id, 10, 10, 0, 0, 0, 0, false, now(), now() FROM made
), entries AS (
    INSERT INTO entry (customer_id, sequence, id, transaction_id, kind, reason, source, debit, credit, points,
                       balance_after, lot_id, actor, request_id, create_time, hash)
    SELECT customer_id, entry_count, id, id, 'EARN', 'PURCHASE', 'purchases/' || request_id, 'programme' || chr(58) || 'issued',
           'member' || chr(58) || 'available', 10, available, id, 'service_manager', request_id, now(), hash
    FROM made
), sources AS (
    INSERT INTO entry_source (customer_id, reason, source, sequence, transaction_id)
    SELECT customer_id, 'PURCHASE', 'purchases/' || request_id, entry_count, id FROM made
), keys AS (
    INSERT INTO idempotency (caller, request_id, method, body_digest, answer, create_time)
    SELECT 'service_manager', request_id, '/cqm.loyalty.v1.LedgerService/EarnPoints', hash,
           decode(repeat('00', 480), 'hex'), now()
    FROM made
)
INSERT INTO event_pending (event_id, aggregate, aggregate_version, type, payload, trace, occur_time)
SELECT request_id, 'members/' || customer_id, version, 'cqm.events.v1.PointsEarned', decode(repeat('00', 260), 'hex'),
       '00-00000000000000000000000000000001-0000000000000001-00', now()
FROM made;
"""
SEED = f"""
INSERT INTO member (customer_id, state, version, entry_count, hash, available, pending, held, issued, debt, redeemed,
                    expired, notice_until, create_time, update_time)
SELECT lpad(to_hex(number), 32, '0')::uuid, 'ACTIVE', 1, 0, decode(repeat('00', 32), 'hex'), 0, 0, 0, 0, 0, 0, 0, now(),
       now(), now()
FROM generate_series(1, {MEMBERS}) AS number;
"""


class Ledger:
    """EarnPoints through the coalescer beside pgbench that writes the same rows, one statement an earn."""

    PROGRAMS = {"cqm-loyalty": "cqm-loyalty"}

    def __init__(self, rig: Rig):
        self._rig = rig
        self._service = rig.service("loyalty")
        echo, echo_address = Keeper(rig.folder, "echo"), free_address()
        rig.start(echo, echo_address, [binary("load"), "echo", "--listen", echo_address])
        self._names = rig.seed("members", self._service, MEMBERS)
        rig.catch_up("loyalty")
        rig.migrate("loyalty", "bench")
        rig.sql("bench", SEED)
        script = rig.folder / "earn.sql"
        script.write_text(EARN)
        self._echo = Row("bare tonic echo, 64 callers",
                         lambda: rig.load("echo", echo_address, self._names, echo))
        self._earns = {callers: Row(f"EarnPoints, {callers} callers", lambda callers=callers: self._earn(callers))
                       for callers in CALLERS}
        self._spreads = {spread: Row(f"EarnPoints, {IN_FLIGHT} callers, {title}",
                                     lambda spread=spread: self._earn(IN_FLIGHT, spread))
                         for spread, title in (("zipf", "Zipf 1.0"), ("one", "one hot member"))}
        self._pgbench = {clients: Row(f"pgbench, {clients} clients", limit=True,
                                      measure=lambda clients=clients: rig.pgbench(script, clients, "bench"))
                         for clients in CALLERS if clients <= 150}
        self._later = Row(f"EarnPoints, {IN_FLIGHT} callers, after {HISTORY:,} entries", lambda: self._earn(IN_FLIGHT))
        self.rows = [self._echo, *self._earns.values(), *self._spreads.values(), *self._pgbench.values()]

    def _earn(self, callers: int, spread: str = "even", seconds: float | None = None) -> Sample:
        sample = self._rig.load("earn-points", self._service.address, self._names, self._service.keeper,
                                callers=callers, spread=spread, seconds=seconds)
        # The next measurement must not pay for this one's events.
        self._rig.catch_up("loyalty")
        return sample

    def finish(self) -> None:
        """The same again when there is a history."""
        with ui.working(f"earning until there are {HISTORY:,} entries"):
            while self._entries() < HISTORY:
                self._earn(256, seconds=STRETCH)
        for number in range(self._rig.rounds):
            with ui.working(f"round {number + 1} of {self._rig.rounds}: {self._later.title}"):
                self._later.samples.append(self._later.measure())
        self.rows.append(self._later)
        PICTURE.write_text(self._picture())

    def _entries(self) -> int:
        return int(self._rig.sql("loyalty", "SELECT sum(entry_count) FROM member"))

    def _picture(self) -> str:
        series = [
            Line("EarnPoints, coalesced", [(callers, row.per_second) for callers, row in self._earns.items()]),
            Line("pgbench, the same rows", [(clients, row.per_second) for clients, row in self._pgbench.items()]),
        ]
        return chart("Durable earns by callers", "callers", "a second", series)

    def _ratios(self) -> list[str]:
        def ratio(row: Row, to: Row) -> float:
            return row.per_second / to.per_second if to.per_second else 0.0

        many, best = self._earns[IN_FLIGHT], max(self._pgbench.values(), key=lambda row: row.per_second)
        beside = self._pgbench[IN_FLIGHT]
        p99, theirs = many.median("p99_ms") or 0.0, beside.median("p99_ms") or 0.0
        wanted = [
            ("64 callers to pgbench at 64", ratio(many, beside), "at least 3", 3.0),
            (f"64 callers to pgbench at its best ({best.title})", ratio(many, best), "at least 2", 2.0),
            ("1 caller to pgbench at 1", ratio(self._earns[1], self._pgbench[1]), "at least 0.7", 0.7),
            ("one hot member to everybody alike", ratio(self._spreads["one"], many), "at least 0.7", 0.7),
            (f"after {HISTORY:,} entries to before", ratio(self._later, many), "at least 0.9", 0.9),
        ]
        lines = [f"| {what} | {found:.2f} | {want} | {'yes' if found >= least else 'NO'} |"
                 for what, found, want, least in wanted]
        lines.append(f"| p99 at 64 callers | {p99:.2f} ms | at most pgbench's {theirs:.2f} ms | {'yes' if p99 <= theirs else 'NO'} |")
        return ["| ratio | found | wanted | met |\n|---|---:|---|---|\n" + "\n".join(lines)]

    def text(self) -> str:
        notes = [
            f"{MEMBERS:,} members. pgbench runs one statement an earn, prepared, over the service's own tables in a database "
            "of its own: the member's row updated; lot, entry, source, request and pending event inserted. The service does that, "
            "checks the rules, chains the hashes, answers over HTTP/2, and its process also gives the events their "
            "positions in the log, which pgbench's never get.",
            f"The picture is {Path(PICTURE).relative_to(places.ROOT)}.",
        ]
        return "\n\n".join(["## The ledger", figures.table(self.rows), *self._ratios(), *figures.failures(self.rows), *notes])
