"""The table of values in the chart's README, out of the comments in values.yaml that begin with `# --`. Pure."""

from __future__ import annotations

import re

BEGIN, END = "<!-- values: begin -->", "<!-- values: end -->"
_KEY = re.compile(r"^( *)([A-Za-z0-9_.\-/]+):(?: (.*))?$")


def with_table(readme: str, values: str) -> str:
    """The README with the table as it should be."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table(values)}{END}{after}"


def table(values: str) -> str:
    lines = ["| value | default | what |", "|---|---|---|"]
    for path, default, text in documented(values):
        shown = f"`{default}`" if default else ""
        lines.append(f"| `{path}` | {shown} | {text} |".replace("|  |", "| |"))
    return "\n".join(lines) + "\n"


def documented(values: str) -> list[tuple[str, str, str]]:
    """Path, default and text of every value that has a comment, in the file's order."""
    return [(path, default, text) for path, default, text in _keys(values) if text]


def undocumented(values: str) -> list[str]:
    """The values under `defaults` and at the top that nobody explains, neither at themselves nor at what holds them.

    Those of one service repeat what `defaults` explains.
    """
    explained = [path for path, _, _ in documented(values)]
    return [
        path
        for path, default, text in _keys(values)
        if default and not text and not path.startswith(("services.", "defaults.topologySpread.", "defaults.env."))
        and not any(path.startswith(f"{holder}.") for holder in explained)
    ]


def _keys(values: str):
    stack: list[tuple[int, str]] = []
    comment: list[str] = []
    begun = False
    for line in values.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            if stripped.startswith("# -- "):
                comment, begun = [stripped[5:]], True
            elif begun:
                comment.append(stripped[1:].strip())
            continue
        found = _KEY.match(line)
        if found:
            indent = len(found.group(1))
            stack = [(depth, key) for depth, key in stack if depth < indent] + [(indent, found.group(2))]
            yield ".".join(key for _, key in stack), (found.group(3) or "").strip(), " ".join(comment).replace("|", "\\|")
        comment, begun = [], False
