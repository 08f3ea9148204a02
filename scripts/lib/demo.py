"""Real purchases in, one customer's closed loop, the result on the screen. Starts the suite when it does not run."""

from __future__ import annotations

import os
import sys

from lib import dev, places, suite, tools, ui

PURCHASES = places.ROOT / "tests" / "data" / "cdnow" / "sample.txt"

USAGE = """usage: ./scripts/demo [ARGUMENT...]

Imports the purchases of tests/data/cdnow through the gateway, plays one complaint from its registration to the points
for the survey's answer, and checks that the points issued equal those expected from the file. Starts the suite when it
does not run, and leaves it running. The arguments go to `cqm demo`; its own help: ./scripts/demo -- --help"""


def main(arguments: list[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    if not PURCHASES.exists():
        raise ui.Failure(f"{PURCHASES} is missing: the clone is not complete")
    if suite.keeper().running():
        suite.build("cqm-standalone", "cqm-cli")
    else:
        ui.heading("The suite does not run yet: starting it (it stays up, ./scripts/dev down stops it)")
    # Also waits for a suite that another script has just started.
    dev.bring_up(suite.PORT)
    program = suite.binary("cqm")
    mail = suite.read_ready().get("mail") or suite.MAIL
    sys.stdout.flush()
    os.chdir(places.ROOT)
    os.execve(
        program,
        [str(program), "demo", "--address", suite.address(), "--key", str(suite.SIGNING_KEY),
         "--data", os.path.relpath(PURCHASES, places.ROOT), "--mail", str(mail), *arguments],
        tools.cargo_environment(),
    )
