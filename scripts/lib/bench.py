"""How fast the suite is beside what limits it, in one run: a bare echo for calls, pgbench for durable writes."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import time
from pathlib import Path

from lib import machine, places, rig, tools, ui
from lib.abuse_readings import Abuse
from lib.gateway_readings import Gateway
from lib.ledger_readings import Ledger
from lib.readings import Reads, Writes
from lib.rig import CONNECTIONS, IN_FLIGHT, WARMUP, Rig
from lib.telemetry_readings import Telemetry

FEWEST_ROUNDS = 5
# Of the processors' time, when nothing is measured: more than a quiet machine's own.
BUSY = 0.1
SECTIONS = {
    "reads": Reads, "writes": Writes, "loyalty": Ledger, "gateway": Gateway, "telemetry": Telemetry, "abuse": Abuse,
}


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)

    def interrupt(*_):
        raise KeyboardInterrupt

    # Everything is stopped on the way out, also when CI ends the run.
    signal.signal(signal.SIGTERM, interrupt)
    sections = SECTIONS if options.what == "all" else {options.what: SECTIONS[options.what]}
    programs = {"cqm-tests": "load"}
    for section in sections.values():
        programs.update(section.PROGRAMS)
    built = _build(programs)
    begin = time.monotonic()
    # One at a time: two would measure each other.
    with places.exclusive("bench.lock"), Rig(options.rounds, options.seconds) as run:
        ui.heading(f"Measuring: {options.rounds} rounds of {options.seconds:g} s for each row")
        texts = [_measure(run, section) for section in sections.values()]
        text = "\n\n".join([_heading(run, built), *texts, "Taken in " + ui.seconds(time.monotonic() - begin) + "."])
    print(text, flush=True)
    ui.say()
    ui.say(f"    written to {_keep(text)}")
    return 0


def _measure(run: Rig, section) -> str:
    """Starts what a section needs, measures its rows in turns, stops all of it, and tells."""
    before = machine.busy_share()
    try:
        one = section(run)
        for number in range(run.rounds):
            # Nobody is always first.
            turn = number % len(one.rows)
            for row in one.rows[turn:] + one.rows[:turn]:
                with ui.working(f"round {number + 1} of {run.rounds}: {row.title}"):
                    row.samples.append(row.measure())
        # What comes once, after everything else.
        getattr(one, "finish", lambda: None)()
    finally:
        run.stop_processes()
    others = max(before, machine.busy_share())
    if others <= BUSY:
        return one.text()
    return f"{one.text()}\n\nCAUTION: something else kept {others:.0%} of the processors busy just before or after these rounds."


def _heading(run: Rig, built: float) -> str:
    settings = run.sql("bench", "SHOW server_version; SHOW fsync; SHOW synchronous_commit").split("\n")
    redis = run.tool([run.pair.redis_program, "--version"]).split(" sha=")[0].strip()
    disk = machine.file_system(places.server_home())
    lines = [
        f"# Benchmark of {time.strftime('%Y-%m-%d %H:%M')}",
        f"{machine.processor()}, {os.cpu_count()} cores, {machine.memory()}; commit {machine.commit()}; "
        f"release build, this time in {ui.seconds(built)}. Postgres {settings[0]}, fsync {settings[1]}, synchronous_commit "
        f"{settings[2]}, on {disk}, reached by unix socket. {redis}. Telemetry is exported in its own section only.",
        f"**Take the ratios, not the figures**: the load generator, pgbench, the servers, Postgres and Redis share these "
        f"{os.cpu_count()} cores, so what the generator spends is taken from the servers. {IN_FLIGHT} calls in flight over "
        f"{CONNECTIONS} connections on 127.0.0.1, each followed by the next as soon as it is answered. Medians of "
        f"{run.rounds} rounds of {run.seconds:g} s, each row in turn, each after {WARMUP:g} s that do not count; the limit "
        "of a table is 1.00 in the column \"to the limit\". \"server µs\" and \"load µs\": time on the processors for one "
        "call, of the processes of the suite (not Postgres, not Redis) and of the load generator.",
    ]
    if disk == "tmpfs":
        lines.append("CAUTION: the data is in memory: nothing here says how fast durable writes are.")
    if run.rounds < FEWEST_ROUNDS:
        lines.append(f"CAUTION: fewer than {FEWEST_ROUNDS} rounds: the medians mean little.")
    return "\n\n".join(lines)


def _keep(text: str) -> Path:
    folder = tools.target_folder() / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{time.strftime('%Y-%m-%d-%H%M%S')}.md"
    file.write_text(text + "\n")
    return file


def _build(programs: dict) -> float:
    """Builds what is measured, as it is shipped. Returns the seconds that it took."""
    parts = [part for package, program in programs.items() for part in ("-p", package, "--bin", program)]
    command = [tools.cargo(), "build", *(["--release"] if rig.PROFILE == "release" else []), *parts]
    ui.heading(f"Building {', '.join(programs.values())} for release (the first time takes many minutes)")
    begin = time.monotonic()
    if subprocess.run(command, cwd=places.ROOT, env=tools.cargo_environment(), stdout=2).returncode:
        raise ui.Failure("the build failed; cargo's message stands above")
    taken = time.monotonic() - begin
    ui.say(f"    built in {ui.seconds(taken)}")
    return taken


def _rounds(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"a number from 1 on, not {text}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"seconds from 0.5 to 600, not {text}")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./scripts/bench",
        description=__doc__,
        epilog="Builds for release, starts a Postgres (fsync on) and a Redis of its own, measures, prints the table, writes "
        "it to target/bench, and stops everything. Keep the machine quiet meanwhile.",
    )
    parser.add_argument("what", nargs="?", choices=(*SECTIONS, "all"), default="all")
    parser.add_argument("--rounds", type=_rounds, default=FEWEST_ROUNDS, help=f"of every row (default {FEWEST_ROUNDS})")
    parser.add_argument("--seconds", type=_seconds, default=3.0, help="of one measurement that count (default 3)")
    return parser
