"""The development suite on this machine: a private Postgres and Redis, and all services in one process."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from lib import places, ports, servers, suite, tools, ui

SERVICES = [database.replace("_", "-") for database in servers.DATABASES]
COMPONENTS = ("suite", "postgres", "redis")


def main(arguments: list[str]) -> int:
    # These two hand everything behind them to another program.
    if arguments[:1] == ["token"]:
        return token(arguments[1:])
    if arguments[:1] == ["psql"] and arguments[1:2] not in ([], ["-h"], ["--help"]):
        return psql(arguments[1], arguments[2:])
    options = _parser().parse_args(arguments)
    return options.run(options)


def up(options) -> int:
    process = bring_up(options.port)
    if process is None:
        ui.heading("The suite runs already. For newly built code: ./scripts/dev down, then up")
    print(suite.guide(), flush=True)
    if options.detach or process is None:
        return 0
    return _follow_until_stopped(process)


def bring_up(port: int):
    """Starts everything that does not run yet. Returns the suite's process, or None when it ran already."""
    with places.exclusive():
        keeper = suite.keeper()
        if keeper.running():
            keeper.wait_until(suite.serves, suite.START_PATIENCE)
            return None
        tools.cargo()
        ports.must_be_free(suite.HOST, port)
        ui.heading("Postgres, Redis and grpcurl: the machine's own, or private copies")
        pair = servers.development()
        ui.say(f"    {pair.postgres_programs / 'postgres'}")
        ui.say(f"    {pair.redis_program}")
        ui.say(f"    {tools.grpcurl()}")
        suite.build("cqm-standalone", "cqm-cli")
        ui.heading("Starting")
        try:
            pair.start()
            suite.make_keys()
            suite.start(pair, port)
        except BaseException:
            # Half a suite is of no use.
            _stop(pair)
            raise
        return keeper.running()


def _follow_until_stopped(process) -> int:
    """Shows the log until Ctrl-C, then stops all."""
    ui.heading("Its log follows. Ctrl-C stops everything")

    def interrupt(*_):
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        # `nohup` wants it to stay when the terminal goes.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    keeper = suite.keeper()
    died = False
    try:
        _follow(keeper.log, whole=True, until=lambda: not process.alive())
        # `./scripts/dev down` in another terminal removes the record; a crash leaves it.
        died = suite.READY.exists()
    except KeyboardInterrupt:
        ui.say()
    with places.exclusive():
        if suite.keeper().running() not in (None, process):
            ui.say("    the suite was started anew by another script: it is left alone")
            return 0
        _stop(servers.development())
    if died:
        raise ui.Failure(f"the suite ended by itself.\n{keeper.last_words()}")
    return 0


def down(_) -> int:
    with places.exclusive():
        lines = _stop(servers.development(), servers.for_tests())
    if not lines:
        ui.say("Nothing was running.")
    return 0


def _stop(*pairs: servers.Servers) -> list[str]:
    lines = []
    with ui.working("stopping what runs"):
        ended = suite.stop()
        if ended:
            hurried = "" if ended == "SIGTERM" else f" (only by {ended}: it did not drain in time)"
            lines.append(f"suite stopped{hurried}")
        for pair in pairs:
            lines += pair.stop()
    for line in lines:
        ui.say(f"    {line}")
    return lines


def status(_) -> int:
    """0 when everything answers, 3 otherwise."""
    pair = servers.development()
    running = {"suite": suite.keeper().running(), "postgres": pair.postgres.running(), "redis": pair.redis.running()}
    answers = {
        "suite": suite.serves,
        "postgres": pair.postgres_answers,
        "redis": pair.redis_answers,
    }
    where = {"suite": suite.address(), "postgres": pair.sockets, "redis": pair.sockets}
    good = True
    for name in COMPONENTS:
        process = running[name]
        state = "stopped" if process is None else "answers" if answers[name]() else "does not answer"
        good = good and state == "answers"
        detail = "" if process is None else f"process {process.pid:<8} {where[name]}"
        print(f"{name:<10} {state:<16} {detail}".rstrip())
    tests = servers.for_tests()
    if tests.postgres.running() or tests.redis.running():
        print(f"{'for tests':<10} {'running':<16} {tests.sockets}")
    return 0 if good else 3


def logs(options) -> int:
    keeper = {"suite": suite.keeper()}.get(options.component) or getattr(servers.development(), options.component)
    if not keeper.log.exists():
        raise ui.Failure(f"there is no log of {options.component} yet: ./scripts/dev up")
    if not options.follow:
        with open(keeper.log, "rb") as log:
            shutil.copyfileobj(log, sys.stdout.buffer)
        sys.stdout.flush()
        return 0
    _follow(keeper.log, whole=False, until=lambda: False)
    return 0


def _follow(log: Path, whole: bool, until) -> None:
    """Copies what is appended to stdout, from the begin or from the last lines on; goes along when the log is new."""
    file = open(log, "rb")
    try:
        if not whole:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 4096))
            if file.tell():
                file.readline()
        while True:
            ended = until()
            text = file.read()
            if text:
                sys.stdout.buffer.write(text)
                sys.stdout.flush()
            if ended:
                return
            if not text:
                time.sleep(0.1)
                if log.exists() and log.stat().st_ino != os.fstat(file.fileno()).st_ino:
                    file.close()
                    file = open(log, "rb")
    finally:
        file.close()


def reset(options) -> int:
    with places.exclusive():
        home = places.server_home()
        kept = {"tools", "tools.lock", "bin", "lock", "keys"}
        doomed = [path for path in (home / "postgres", home / "test-postgres") if path.exists()]
        doomed += [path for path in sorted(places.DEV.iterdir()) if path.name not in kept and path not in doomed]
        doomed = [path for path in doomed if path != places.STATE] + places.recorded_socket_folders()
        if not options.yes:
            ui.say("This stops the suite and deletes its data for good: all databases, mails and logs in")
            for path in doomed:
                ui.say(f"    {path}")
            if not sys.stdin.isatty():
                raise ui.Failure("nobody is there to confirm: ./scripts/dev reset --yes")
            if input("Delete? [y/N] ").strip().lower() not in ("y", "yes"):
                ui.say("Nothing was deleted.")
                return 1
        _stop(servers.development(), servers.for_tests())
        for path in doomed:
            subprocess.run(["rm", "-rf", "--", path], check=True)
        ui.say("Deleted. Tools and keys are kept.")
    return 0


def psql(service: str, arguments: list[str]) -> int:
    database = service.replace("-", "_")
    if database not in servers.DATABASES:
        raise ui.Failure(f"there is no service {service}; there are {', '.join(SERVICES)}")
    pair = servers.development()
    if not pair.postgres.running():
        raise ui.Failure("Postgres does not run: ./scripts/dev up")
    program = pair.postgres_programs / "psql"
    sys.stdout.flush()
    os.execv(program, [str(program), *arguments, pair.database_url(database)])


def _needs_service(_) -> int:
    raise ui.Failure(f"which service? ./scripts/dev psql SERVICE, one of {', '.join(SERVICES)}")


def token(arguments: list[str]) -> int:
    program = suite.built_binary("cqm")
    if not suite.SIGNING_KEY.exists():
        raise ui.Failure("there is no signing key yet: run ./scripts/dev up first")
    os.execv(program, [str(program), "token", "--key", str(suite.SIGNING_KEY), *arguments])


def env(_) -> int:
    with places.exclusive():
        pair = servers.for_tests()
        pair.start()
    for name, value in servers.test_environment(pair).items():
        print(f"export {name}='{value}'")
    return 0


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./scripts/dev",
        description=__doc__,
        epilog="Data, logs, mails and keys are in .dev. CQM_TOOLS=private uses fetched copies of Postgres, Redis and "
        "grpcurl even where the machine has its own.",
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run, text: str) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=text)
        one.set_defaults(run=run)
        return one

    start = command("up", up, "build and start everything, wait until it serves, show the log until Ctrl-C")
    start.add_argument("--detach", "-d", action="store_true", help="return when it serves; ./scripts/dev down stops it")
    start.add_argument("--port", type=_port, default=suite.PORT, help=f"the calls' port (default {suite.PORT})")
    command("down", down, "stop everything; the data stays")
    command("status", status, "what runs; exit code 0 when everything answers")
    show = command("logs", logs, "show the log")
    show.add_argument("component", nargs="?", choices=COMPONENTS, default="suite")
    show.add_argument("--follow", "-f", action="store_true", help="the last lines, then what comes, until Ctrl-C")
    clear = command("reset", reset, "stop everything and delete the data")
    clear.add_argument("--yes", "-y", action="store_true", help="without asking")
    command("psql", _needs_service, f"psql SERVICE [ARGUMENT ...]: psql on a service's database: {', '.join(SERVICES)}")
    command("token", lambda _: token([]), "token --role ROLE [...]: a token for calls, on stdout (cqm token)")
    command("env", env, 'start a Postgres and a Redis for tests: eval "$(./scripts/dev env)", then cargo test')
    return parser
