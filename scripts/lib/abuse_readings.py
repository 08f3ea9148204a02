"""The section `abuse` of ./scripts/bench: an honest client alone, and beside clients that mean harm."""

from __future__ import annotations

import contextlib
import statistics
import sys
from pathlib import Path

from lib import figures, ui
from lib.figures import Row, Sample
from lib.processes import Keeper
from lib.rig import ENDINGS, Rig, binary

CUSTOMERS = 1_000
IN_SPARE_TIME = (
    "import os, sys; os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)); os.execv(sys.argv[1], sys.argv[1:])"
)
# Of the honest client, each with a call every few milliseconds: a busy frontend within its quota, far from what the gateway
# can do.
CALLERS = 8
EVERY_MS = 5
# Attack, attackers at a time.
ATTACKS = (
    ("rapid-reset", 4), ("continuation", 4), ("pings", 4), ("settings", 4), ("slow-handshakes", 2_000),
    ("zero-windows", 5), ("huge-headers", 4), ("compression-bombs", 4), ("idle", 10_000),
)
# Wanted: the honest client's p99 beside an attack to its p99 alone.
WANTED = 2.0


class Abuse:
    """What an honest client and the gateway's memory notice of each attack."""

    PROGRAMS = {"cqm-customer-data": "cqm-customer-data", "cqm-gateway": "cqm-gateway", "cqm-cli": "cqm"}

    def __init__(self, rig: Rig):
        self._rig = rig
        keys = rig.folder / "keys"
        rig.tool([binary("cqm"), "dev-keys", keys])
        # Two callers, each with a quota of its own.
        self._honest, self._attackers = self._token(keys, "honest"), self._token(keys, "attacker")
        service = rig.service("customer-data", "per_core")
        self._gateway = rig.gateway("abused", service.address, keys / "jwks.json", "", rate=None)
        self._gateway.start()
        self._names = rig.seed("customers", service, CUSTOMERS)
        rig.catch_up("customer_data")
        self._peaks: dict[str, list[int]] = {}
        alone = Row("alone", lambda: self._measure("alone", 0), limit=True)
        self.rows = [alone] + [
            Row(name, lambda name=name, count=count: self._measure(name, count)) for name, count in ATTACKS
        ]

    def _token(self, keys: Path, subject: str) -> Path:
        file = self._rig.folder / f"{subject}.token"
        file.write_text(self._rig.tool([
            binary("cqm"), "token", "--role", "service_manager", "--subject", subject, "--minutes", 120,
            "--key", keys / "signing.pem",
        ]))
        return file

    def _measure(self, name: str, count: int) -> Sample:
        # A process of its own for each measurement, or the peak of one attack would be the next one's.
        self._gateway.restart()
        with contextlib.ExitStack() as stack:
            if count:
                attacker = Keeper(self._rig.folder, f"attack-{name}")
                stack.callback(attacker.stop, ENDINGS)
                # It has the processors only while nobody else wants them: what it spends itself is no harm that it does to
                # the gateway. The lowest priority alone would leave it a slice of three milliseconds now and then.
                self._rig.start(attacker, self._gateway.address, [
                    sys.executable, "-c", IN_SPARE_TIME, binary("load"), "attack", name, "--address", self._gateway.address,
                    "--token", self._attackers, "--connections", count,
                ])
            sample = self._rig.load(
                "get-customer", self._gateway.address, self._names, self._gateway.keeper,
                token=self._honest, callers=CALLERS, more=("--every", EVERY_MS),
            )
            self._peaks.setdefault(name, []).append(self._peak())
        return sample

    def _peak(self) -> int:
        """The most memory that the gateway has had resident, KiB."""
        process = self._gateway.keeper.running()
        if process is None:
            raise ui.Failure(f"the gateway has ended.\n{self._gateway.keeper.last_words()}")
        status = Path(f"/proc/{process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))

    def text(self) -> str:
        alone = self.rows[0]
        lines = ["| beside | attackers | p50 ms | p99 ms | p50 to alone | p99 to alone | calls to alone | gateway's peak MiB |",
                 "|---|---|---|---|---|---|---|---|"]
        missed = []
        counts = dict(ATTACKS)
        for row in self.rows:
            p50, p99 = row.median("p50_ms"), row.median("p99_ms")
            to50, to99 = _ratio(p50, alone.median("p50_ms")), _ratio(p99, alone.median("p99_ms"))
            calls = _ratio(row.per_second, alone.per_second)
            peak = statistics.median(self._peaks[row.title]) / 1024
            lines.append(f"| {row.title} | {counts.get(row.title, '')} | {_shown(p50)} | {_shown(p99)} | {_shown(to50)} | "
                         f"{_shown(to99)} | {_shown(calls)} | {peak:.0f} |")
            if to99 is not None and to99 > WANTED:
                missed.append(f"{row.title} {to99:.2f}")
        notes = [
            f"One honest client, {CALLERS} calls in flight, each followed by the next after {EVERY_MS} ms, GetCustomer through the "
            "gateway, whose quotas are as it comes. The attackers have a good token of another caller, connect again 20 ms after "
            "they were cut off, and have what is left of the same cores (SCHED_IDLE). The gateway is started anew for each "
            "measurement; its peak is VmHWM.",
            f"Over {WANTED:g} times its p99 alone: {', '.join(missed)}." if missed
            else f"Beside none of them its p99 is over {WANTED:g} times that alone.",
        ]
        return "\n\n".join(["## Abuse", "\n".join(lines), *figures.failures(self.rows), *notes])


def _ratio(value, base):
    return value / base if value is not None and base else None


def _shown(value) -> str:
    return "" if value is None else f"{value:.2f}"
