"""Everything that CI runs, in CI's order. Stops at the first step that fails."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterable, Optional

from lib import chart, git, image_checks, migration_lint, places, servers, tools, ui, upgrade

PROTO = places.ROOT / "proto"
# What the contracts must stay compatible with, when it is not found by itself.
BASE_VARIABLE = "CQM_PROTO_BASE"


@dataclass(frozen=True)
class Step:
    name: str
    title: str
    # Seconds after which it is ended: several times what it takes on two cores from nothing.
    limit: float
    run: Callable[["Run"], None]


class Run:
    """What the steps share: cargo, the time that is left to a step, and the servers, started when first needed."""

    def __init__(self, filters: list[str], to_tests: list[str], servers_stack: contextlib.ExitStack):
        self.filters = filters
        self.to_tests = to_tests
        self.deadline = 0.0
        self._stack = servers_stack
        self._test_environment: Optional[dict] = None

    def cargo(self, *arguments: str, **environment: str) -> None:
        self.call([tools.cargo(), *arguments], env={**tools.cargo_environment(), **_ci_settings(), **environment})

    def cargo_test(self, *targets: str, chosen: Iterable[str] = (), **environment: str) -> None:
        """Runs tests of these targets: the chosen ones, or those that the command line chooses."""
        if self._test_environment is None:
            self._test_environment = servers.test_environment(self._stack.enter_context(servers.thrown_away()))
        behind = list(chosen) or [*self.filters, *self.to_tests]
        arguments = ["test", "--workspace", "--no-fail-fast", *targets, *(["--", *behind] if behind else [])]
        self.cargo(*arguments, **self._test_environment, **environment)

    def call(self, command: list, cwd: Path = places.ROOT, env: Optional[dict] = None) -> None:
        """Runs it in a process group of its own, so that nothing of it outlives the step."""
        child = subprocess.Popen(
            [str(part) for part in command], cwd=cwd, env=env, stdin=subprocess.DEVNULL, start_new_session=True
        )
        shown = " ".join([os.path.basename(str(command[0])), *map(str, command[1:])])
        try:
            code = child.wait(timeout=max(1.0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise ui.Failure(f"`{shown}` took longer than the step may take") from None
        finally:
            _end_group(child)
        if code:
            raise ui.Failure(f"`{shown}` failed with exit code {code}")


def main(arguments: list[str]) -> int:
    arguments, to_tests = _split(arguments)
    options = _parser().parse_args(arguments)
    if options.list:
        for step in STEPS:
            print(f"{step.name:<12} {step.title}")
        return 0
    chosen = _chosen(options)

    def interrupt(*_):
        raise KeyboardInterrupt

    # The servers are stopped on the way out, also when CI ends the run.
    signal.signal(signal.SIGTERM, interrupt)
    results: list[tuple[Step, str, float]] = []
    begin = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            run = Run(options.filter, to_tests, stack)
            for step in chosen:
                _one(step, run, results)
    finally:
        _report(chosen, results, time.monotonic() - begin)
    return 0


def _one(step: Step, run: Run, results: list) -> None:
    _heading(f"{step.name}: {step.title}")
    begin = time.monotonic()
    run.deadline = begin + step.limit
    outcome = "failed"
    try:
        step.run(run)
        outcome = "ok"
    except ui.Failure as failure:
        again = f"Again, this step alone: ./scripts/test --only {step.name}"
        raise ui.Failure(f"step {step.name}: {failure}\n       {again}") from failure
    finally:
        results.append((step, outcome, time.monotonic() - begin))


def _report(chosen: list[Step], results: list, elapsed: float) -> None:
    _heading("Summary")
    for step, outcome, taken in results:
        print(f"    {step.name:<12} {outcome:<8} {ui.seconds(taken):>12}")
    for step in chosen[len(results):]:
        print(f"    {step.name:<12} not run")
    print(f"    {'together':<12} {'':<8} {ui.seconds(elapsed):>12}", flush=True)


def format_of_code(run: Run) -> None:
    run.cargo("fmt", "--all", "--check")


def clippy(run: Run) -> None:
    run.cargo("clippy", "--workspace", "--all-targets", "--", "-D", "warnings")


def documentation(run: Run) -> None:
    run.cargo("doc", "--workspace", "--no-deps", RUSTDOCFLAGS="-D warnings")


def contracts(run: Run) -> None:
    buf = tools.buf()
    run.call([buf, "lint"], cwd=PROTO)
    # Vendored files keep the form they came in.
    run.call([buf, "format", "--diff", "--exit-code", "--path", "cqm"], cwd=PROTO)
    base, why_not = _base_of_contracts()
    if base is None:
        print(f"    no check for breaking changes: {why_not}", flush=True)
        return
    with tempfile.TemporaryDirectory(prefix="cqm-proto-") as before:
        git.unpack(base, Path(before), "proto")
        print(f"    compared with {base[:12]}", flush=True)
        run.call([buf, "breaking", "--against", Path(before) / "proto"], cwd=PROTO)


def _base_of_contracts() -> tuple[Optional[str], str]:
    """The commit whose contracts must not break, or None and the reason.

    What others have already: the main branch of the place that this clone came from. When that is what is checked out,
    the last commit, if the work tree's contracts differ from it, else the one before.
    """
    named = os.environ.get(BASE_VARIABLE)
    head = git.commit("HEAD")
    if head is None:
        return None, "there is no commit yet"
    if named:
        base = git.commit(named)
        if base is None:
            raise ui.Failure(f"{BASE_VARIABLE} names no commit: {named}")
    else:
        base = git.commit("origin/main")
        if base in (None, head):
            changed = git.output("status", "--porcelain", "--", "proto").strip()
            base = head if changed else git.commit("HEAD^")
        if base is None:
            return None, "there is no commit before this one"
    if not git.output("ls-tree", base, "proto/buf.yaml").strip():
        return None, f"{base[:12]} has no contracts yet"
    return base, ""


def scripts(run: Run) -> None:
    folder = places.ROOT / "scripts"
    shells = [places.ROOT / ".ci" / "run"]
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".py":
            try:
                compile(path.read_bytes(), str(path), "exec")
            except SyntaxError as error:
                raise ui.Failure(f"{path}: {error}") from error
        elif path.is_file() and path.read_bytes().startswith(b"#!/bin/sh"):
            shells.append(path)
    for path in shells:
        shell = "bash" if b"bash" in path.read_bytes().split(b"\n", 1)[0] else "sh"
        run.call([shell, "-n", path])
        if not os.access(path, os.X_OK):
            raise ui.Failure(f"{path} is not executable")
    run.call([sys.executable, "-B", "-m", "unittest", "discover", "-s", "lib/tests", "-t", "."], cwd=folder)


def build(run: Run) -> None:
    # All targets: with the features that tests need, so that the tests find these programs and nothing is built twice.
    run.cargo("build", "--workspace", "--all-targets")


def unit(run: Run) -> None:
    run.cargo_test("--lib", "--bins")


def integration(run: Run) -> None:
    run.cargo_test("--test", "*")


def examples(run: Run) -> None:
    run.cargo_test("--doc")


STEPS = (
    Step("fmt", "the code's format", 120, format_of_code),
    Step("scripts", "the scripts' syntax and own tests", 300, scripts),
    Step("proto", "lint, format and compatibility of the contracts", 300, contracts),
    Step("chart", "the Helm chart and k8s/, rendered and held to rules", 600, chart.step),
    Step("migrations", "the migrations, expand then contract", 300, migration_lint.step),
    Step("clippy", "lints of all targets, warnings refused", 1800, clippy),
    Step("doc", "documentation, warnings refused", 900, documentation),
    Step("build", "all programs", 1800, build),
    Step("deploy", "the programs take the configuration that the chart gives them", 300, chart.programs),
    Step("image", "an image built twice and run", 600, image_checks.step),
    Step("unit", "tests beside the code", 1800, unit),
    Step("integration", "tests of each service and journeys over all, on a private Postgres and Redis", 2700, integration),
    Step("upgrade", "an upgrade from the version before, under load", 1800, upgrade.step),
    Step("doctest", "examples in the documentation", 900, examples),
)
TESTS = ("unit", "integration", "doctest")


def _chosen(options) -> list[Step]:
    names = [step.name for step in STEPS]
    only = _names(options.only, names) or (list(TESTS[:2]) if options.filter else names)
    skipped = _names(options.skip, names)
    return [step for step in STEPS if step.name in only and step.name not in skipped]


def _names(text: str, known: list[str]) -> list[str]:
    given = [name for name in re.split(r"[,\s]+", text) if name]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ui.Failure(f"there is no step {unknown[0]}; there are {', '.join(known)}")
    return given


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """What stands before and behind the first `--`."""
    if "--" not in arguments:
        return arguments, []
    at = arguments.index("--")
    return arguments[:at], arguments[at + 1:]


def _ci_settings() -> dict:
    """In CI every build is a first one: no incremental data, which costs time and disk."""
    return {"CARGO_INCREMENTAL": os.environ.get("CARGO_INCREMENTAL", "0")} if os.environ.get("CI") else {}


def _end_group(child: subprocess.Popen) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=10)
    child.wait()


def _heading(text: str) -> None:
    """On stdout, among what the steps print."""
    print(f"\n==> {text}", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./scripts/test",
        usage="./scripts/test [FILTER ...] [--only STEPS] [--skip STEPS] [--list] [-- TEST-ARGUMENT ...]",
        description=__doc__,
        epilog="Postgres and Redis are started for the run alone and removed afterwards; those of ./scripts/dev are not touched. "
        f"{BASE_VARIABLE}=COMMIT names the commit whose contracts must not break. "
        "With CQM_TOOLS=private fetched copies of Postgres, Redis and buf are used even where the machine has its own.",
    )
    parser.add_argument("filter", nargs="*", help="run only the tests whose names contain it, and no other step")
    parser.add_argument("--only", default="", metavar="STEPS", help="these steps, separated by commas")
    parser.add_argument("--skip", default="", metavar="STEPS", help="not these steps")
    parser.add_argument("--list", action="store_true", help="show the steps")
    return parser
