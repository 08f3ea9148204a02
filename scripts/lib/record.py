"""Records a closed loop over all services, and the commands that the coordinator's reactions make of it."""

from __future__ import annotations

import subprocess

from lib import places, servers, tools

USAGE = """usage: ./scripts/record

Runs the suite as separate processes over a Postgres and a Redis of their own, plays a closed loop, and writes
services/gateway/src/coordinator/reactions/recorded-log.tsv and recorded-commands.txt. Read what has changed in the
second one before you commit it: it is what the coordinator would do."""

RECORDER = ["--package", "cqm-tests", "--test", "it", "--", "--ignored", "--exact", "recording::a_closed_loop_is_recorded"]
# It writes what it finds, where it compares otherwise.
GOLDEN = ["--package", "cqm-gateway", "--lib", "the_recorded_log_leads"]


def main(arguments: list[str]) -> int:
    if arguments:
        print(USAGE)
        return 0 if arguments[0] in ("-h", "--help") else 2
    with servers.thrown_away() as pair:
        environment = {**tools.cargo_environment(), **servers.test_environment(pair)}
        _cargo(environment, "build", "--workspace")
        _cargo(environment, "test", *RECORDER)
        _cargo({**environment, "CQM_RECORD": "1"}, "test", *GOLDEN)
    return 0


def _cargo(environment: dict, *arguments: str) -> None:
    subprocess.run([tools.cargo(), *arguments], cwd=places.ROOT, env=environment, check=True)
