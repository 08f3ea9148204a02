"""The rows of ./scripts/bench gateway: what the edge adds to a call, beside a proxy that checks nothing."""

from __future__ import annotations

import json
import math
import os

from lib import figures, tools, ui
from lib.figures import Row, Sample
from lib.processes import Keeper
from lib.rig import CONNECTIONS, IN_FLIGHT, Rig, binary, free_address

CORES = os.cpu_count() or 1
NAMES = 10_000
ANSWER_BYTES = 16 * 1024
STREAMS = 1000
IDLE_CONNECTIONS = 2000
# The calls that may be at work in the gateway of the overload, and the callers that come, each as soon as it may.
PLACES = 128
CALLERS = (32, 64, 128, 320, 640)
WANTED = {"rate": 0.55, "added p50": 150, "goodput": 0.9}

HAPROXY = """global
    nbthread {threads}
    maxconn 4000
defaults
    mode http
    timeout connect 1s
    timeout client 60s
    timeout server 60s
frontend calls
    bind {address} proto h2
    default_backend echo
backend echo
    http-reuse always
    server echo {behind} proto h2
"""


class Gateway:
    """Calls through the gateway with identity, access and quota on, beside the same service called directly."""

    PROGRAMS = {"cqm-customer-data": "cqm-customer-data", "cqm-gateway": "cqm-gateway", "cqm-cli": "cqm"}

    def __init__(self, rig: Rig):
        self._rig = rig
        self._token = rig.folder / "token"
        keys = rig.folder / "keys"
        rig.tool([binary("cqm"), "dev-keys", keys])
        self._token.write_text(rig.tool(
            [binary("cqm"), "token", "--role", "service_manager", "--minutes", 120, "--key", keys / "signing.pem"]
        ))
        self._echo, self._echo_address = Keeper(rig.folder, "echo"), free_address()
        rig.start(self._echo, self._echo_address, [binary("load"), "echo", "--listen", self._echo_address])
        roomy = "max_in_flight = 4096\nmax_in_flight_per_caller = 4096\nbulk_share_percent = 100\n"
        tight = f"max_in_flight = {PLACES}\nmax_in_flight_per_caller = {PLACES}\n"
        jwks = keys / "jwks.json"
        self._customers = rig.service("customer-data")
        self._before_echo = rig.gateway("to-echo", self._echo_address, jwks, roomy)
        self._before_service = rig.gateway("to-customer-data", self._customers.address, jwks, roomy)
        self._tight = rig.gateway("to-echo-tight", self._echo_address, jwks, tight)
        for gateway in (self._before_echo, self._before_service, self._tight):
            gateway.start()
        self._haproxy, self._haproxy_address = Keeper(rig.folder, "haproxy"), free_address()
        file = rig.folder / "haproxy.cfg"
        file.write_text(HAPROXY.format(
            threads=CORES, address=self._haproxy_address, behind=self._echo_address,
        ))
        rig.start(self._haproxy, self._haproxy_address, [tools.haproxy(), "-db", "-f", file])
        self._names = rig.seed("customers", self._customers, NAMES)
        rig.catch_up("customer_data")

        low = {"callers": 1}
        large = {"more": ("--answer-bytes", ANSWER_BYTES)}
        many = {"call": "import-customers", "callers": STREAMS, "connections": 20, "more": ("--streams",)}
        self._tables = {
            f"{IN_FLIGHT} calls in flight": [
                *self._three(),
                Row("GetCustomer, directly", lambda: self._load(self._customers.address, self._customers.keeper)),
                Row("GetCustomer, through the gateway", lambda: self._load(
                    self._before_service.address, self._before_service.keeper, self._customers.keeper, token=True)),
            ],
            "One call at a time": self._three(**low),
            f"Answers of {ANSWER_BYTES // 1024} KiB": self._three(**large),
            f"{STREAMS:,} streams, a message there and back on each": self._three(**many),
        }
        self._overload = [Row(f"{callers:,}", lambda callers=callers: self._crowded(callers)) for callers in CALLERS]
        self.rows = [row for rows in [*self._tables.values(), self._overload] for row in rows]
        self._idle = 0.0

    def _three(self, **how) -> list[Row]:
        """The echo alone, through the gateway, and through haproxy."""
        return [
            Row("bare tonic echo", lambda: self._load(self._echo_address, self._echo, **how), limit=True),
            Row("echo, through the gateway", lambda: self._load(
                self._before_echo.address, self._before_echo.keeper, self._echo, token=True, **how)),
            Row("echo, through haproxy", lambda: self._load(
                self._haproxy_address, self._haproxy, self._echo, **how)),
        ]

    def _load(self, address: str, *watched: Keeper, call: str = "get-customer", token: bool = False, **how) -> Sample:
        return self._rig.load(
            call, address, self._names, *watched, token=self._token if token else None, **how
        )

    def _crowded(self, callers: int) -> Sample:
        """More callers than the gateway has places."""
        return self._load(
            self._tight.address, self._tight.keeper, self._echo, token=True, callers=callers, more=("--patient",),
        )

    def finish(self) -> None:
        with ui.working(f"{IDLE_CONNECTIONS:,} idle connections"):
            process = self._before_echo.keeper.running()
            answer = json.loads(self._rig.tool([
                binary("load"), "idle", "--address", self._before_echo.address, "--names", self._names,
                "--token", self._token, "--connections", IDLE_CONNECTIONS, "--watch", process.pid,
            ], patience=120))
            self._idle = answer["bytes"] / answer["connections"]

    def text(self) -> str:
        parts = ["## Gateway"]
        for title, rows in self._tables.items():
            parts += [f"### {title}", figures.table(rows), *figures.failures(rows)]
        parts += ["### Overload", self._overload_table(), "### Notes", self._notes()]
        return "\n\n".join(parts)

    def _overload_table(self) -> str:
        peak = max(row.per_second for row in self._overload)
        lines = ["| callers | answered a second | of the peak | p50 ms | p99 ms | refused a second |",
                 "|---:|---:|---:|---:|---:|---:|"]
        for row in self._overload:
            refused = sum(row.failed().values()) / self._rig.seconds / len(row.samples)
            lines.append(f"| {row.title} | {row.per_second:,.0f} | {row.per_second / peak:.2f} "
                         f"| {row.median('p50_ms') or math.nan:.2f} | {row.median('p99_ms') or math.nan:.2f} | {refused:,.0f} |")
        return "\n".join(lines)

    def _notes(self) -> str:
        busy, calm, large, streams = self._tables.values()
        echo, gateway, proxy, direct, through = busy
        added = (calm[1].median("p50_ms") - calm[0].median("p50_ms")) * 1000
        proxy_added = (calm[2].median("p50_ms") - calm[0].median("p50_ms")) * 1000
        last = self._overload[-1].per_second / max(row.per_second for row in self._overload)

        def cpu(row: Row, bare: Row) -> str:
            return f"{row.median('server_us') - bare.median('server_us'):.0f} µs"

        lines = [
            f"GetCustomer through the gateway to GetCustomer directly: {_ratio(through, direct)} (wanted {WANTED['rate']}); the "
            f"echo through the gateway to the echo: {_ratio(gateway, echo)}, through haproxy: {_ratio(proxy, echo)}; the gateway "
            f"to haproxy: {_ratio(gateway, proxy)}.",
            f"Processors' time that a call costs more: gateway {cpu(gateway, echo)}, haproxy {cpu(proxy, echo)}.",
            f"Added to the median of one call at a time: gateway {added:.0f} µs (wanted {WANTED['added p50']}), haproxy "
            f"{proxy_added:.0f} µs.",
            f"{ANSWER_BYTES // 1024} KiB: gateway {_ratio(large[1], large[0])}, haproxy {_ratio(large[2], large[0])} of the echo. "
            f"{STREAMS:,} streams: gateway {_ratio(streams[1], streams[0])}, haproxy {_ratio(streams[2], streams[0])}.",
            f"A connection that idles after one call takes {self._idle / 1024:.1f} KiB of the gateway's memory "
            f"({IDLE_CONNECTIONS:,} of them).",
            f"With {CALLERS[-1]} callers the gateway still answers {last:.2f} of its peak (wanted {WANTED['goodput']}).",
            f"The gateway checks a bearer token and the access policy, and takes a token of the caller's quota, which it shares "
            f"over Redis; haproxy does none of it and has {CORES} threads. The echo answers in place of customer-data, "
            "so that it costs nothing but the transport. Overload: one gateway with room for "
            f"{PLACES} calls; callers who are refused wait as RetryInfo says, the others call again at once; {CONNECTIONS} "
            "connections.",
        ]
        return "\n\n".join(lines)


def _ratio(row: Row, limit: Row) -> str:
    return f"{row.per_second / limit.per_second:.2f}" if limit.per_second else "none"
