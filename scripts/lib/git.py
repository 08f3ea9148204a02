"""What the scripts ask git."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Optional

from lib import places, ui


def _bytes_of(*arguments: str) -> bytes:
    try:
        answer = subprocess.run(["git", *arguments], cwd=places.ROOT, stdin=subprocess.DEVNULL, capture_output=True)
    except OSError as error:
        raise ui.Failure(f"git cannot be run: {error}") from error
    if answer.returncode:
        raise ui.Failure(f"git {' '.join(arguments)}: {answer.stderr.decode(errors='replace').strip()}")
    return answer.stdout


def output(*arguments: str) -> str:
    return _bytes_of(*arguments).decode()


def unpack(commit: str, folder: Path, *paths: str) -> None:
    """Writes the commit's files into a folder: all of them, or those below the paths."""
    with tarfile.open(fileobj=io.BytesIO(_bytes_of("archive", "--format=tar", commit, *paths))) as files:
        files.extractall(folder)


def asked(*arguments: str) -> str:
    """The answer in one line; empty when there is none, be it that there is no git."""
    try:
        return output(*arguments).strip()
    except ui.Failure:
        return ""


def commit(name: str) -> Optional[str]:
    """Which commit it names; None: none."""
    return asked("rev-parse", "--verify", "--quiet", name + "^{commit}") or None
