"""What the scripts ask git."""

from __future__ import annotations

import subprocess
from typing import Optional

from lib import places, ui


def bytes_of(*arguments: str) -> bytes:
    try:
        answer = subprocess.run(["git", *arguments], cwd=places.ROOT, stdin=subprocess.DEVNULL, capture_output=True)
    except OSError as error:
        raise ui.Failure(f"git cannot be run: {error}") from error
    if answer.returncode:
        raise ui.Failure(f"git {' '.join(arguments)}: {answer.stderr.decode(errors='replace').strip()}")
    return answer.stdout


def output(*arguments: str) -> str:
    return bytes_of(*arguments).decode()


def commit(name: str) -> Optional[str]:
    """Which commit it names; None: none."""
    try:
        return output("rev-parse", "--verify", "--quiet", name + "^{commit}").strip()
    except ui.Failure:
        return None
