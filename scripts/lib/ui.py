"""What the scripts say. Progress goes to stderr; stdout carries results only, so that `$(...)` gets nothing else."""

from __future__ import annotations

import contextlib
import sys
import threading
import time


class Failure(Exception):
    """Something the user can act on; its text says what to do. Shown without a traceback."""


def say(text: str = "") -> None:
    print(text, file=sys.stderr, flush=True)


def heading(text: str) -> None:
    say(_bold(f"==> {text}"))


def seconds(elapsed: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`."""
    if elapsed < 9.95:
        return f"{elapsed:.1f} s"
    whole = round(elapsed)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02} s"


@contextlib.contextmanager
def working(text: str):
    """Shows that something is going on, with the time it has taken so far."""
    begin = time.monotonic()
    if not sys.stderr.isatty():
        say(f"    {text} ...")
        yield
        if time.monotonic() - begin > 5:
            say(f"    {text}: done in {seconds(time.monotonic() - begin)}")
        return

    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.25):
            print(f"\r    {text} ... {seconds(time.monotonic() - begin)}\033[K", end="", file=sys.stderr, flush=True)

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    outcome = "failed"
    try:
        yield
        outcome = seconds(time.monotonic() - begin)
    finally:
        done.set()
        ticker.join()
        print(f"\r    {text} ... {outcome}\033[K", file=sys.stderr, flush=True)


def guarded(main, arguments) -> int:
    """Runs a command's main and turns what ends it into an exit code and one readable line."""
    try:
        return main(arguments) or 0
    except Failure as failure:
        say(_bold("error: ") + str(failure))
        return 1
    except KeyboardInterrupt:
        say()
        return 130
    except BrokenPipeError:
        # `./scripts/dev logs | head`: the reader has seen enough.
        sys.stderr.close()
        return 0


def _bold(text: str) -> str:
    return f"\033[1m{text}\033[0m" if sys.stderr.isatty() else text
