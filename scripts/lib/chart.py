"""The chart: what is generated of it, and its checks as steps of ./scripts/test."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from lib import chart_readme, dashboards, places, tools, ui

CHART = places.ROOT / "charts" / "cqm"


def generated() -> dict[Path, str]:
    """The files that are made of others, as they should be."""
    readme = CHART / "README.md"
    files = {readme: chart_readme.with_table(readme.read_text(), (CHART / "values.yaml").read_text())}
    folder = CHART / "files" / "dashboards"
    return {**files, **{folder / f"{name}.json": text for name, text in dashboards.all_texts().items()}}


def outdated() -> list[Path]:
    wanted = generated()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    return stale + [path for path in sorted((CHART / "files" / "dashboards").glob("*")) if path not in wanted]


def step(run) -> None:
    stale = [str(path.relative_to(places.ROOT)) for path in outdated()]
    if stale:
        raise ui.Failure(f"{', '.join(stale)}: not what it is made of. Write it anew: ./scripts/lib/run chart generate")
    missing = chart_readme.undocumented((CHART / "values.yaml").read_text())
    if missing:
        raise ui.Failure(f"values.yaml explains nothing of {', '.join(missing)}")
    _run(run, "lib.chart_checks")
    _run(run, "lib.alerts")


def programs(run) -> None:
    _run(run, "lib.chart_programs", tools.target_folder() / "debug")


def _run(run, module: str, *arguments) -> None:
    """In a process of its own, because it imports modules that the scripts can do without."""
    modules = [str(tools.chart_modules()), str(places.ROOT / "scripts")]
    run.call([sys.executable, "-B", "-m", module, *arguments], env={**os.environ, "PYTHONPATH": os.pathsep.join(modules)})


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./scripts/lib/run chart", description=__doc__)
    parser.add_argument("command", choices=["generate"], help="write the README's table of values and the dashboards")
    parser.parse_args(arguments)
    for path in outdated():
        if path in generated():
            path.write_text(generated()[path])
        else:
            path.unlink()
        ui.say(f"    {path.relative_to(places.ROOT)}")
    return 0
