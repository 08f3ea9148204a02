"""The step `upgrade` of ./scripts/test: the version before this one, built from its commit, and an upgrade from it under load.

The version before is the last one that does not know the newest migration: the one whose processes are still at work while
a deployment has migrated already.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from lib import git, places, tools, ui

SERVICES = ("customer-data", "complaints", "surveys", "notifications", "loyalty")
MIGRATIONS = ("services/*/migrations/*/up.sql", "services/common/db/migrations/*/up.sql")
# Another version to come from than the one that is found by itself.
BASE_VARIABLE = "CQM_UPGRADE_BASE"
# Where the test finds the programs of the version before.
VARIABLE = "CQM_TEST_BEFORE"
TEST = "an_upgrade_from_the_version_before"


def step(run) -> None:
    commit = version_before()
    if commit is None:
        return
    run.cargo_test("--test", "it", chosen=[TEST, "--ignored"], **{VARIABLE: str(_programs_of(run, commit))})


def version_before() -> str | None:
    """The commit, or None in a clone that does not reach back so far."""
    named = os.environ.get(BASE_VARIABLE)
    if named:
        commit = git.commit(named)
        if commit is None:
            raise ui.Failure(f"{BASE_VARIABLE} names no commit: {named}")
        return commit
    # On the line of what was landed: what lies beside it was never installed anywhere.
    newest = git.output(
        "log", "--first-parent", "--diff-merges=first-parent", "--diff-filter=A", "-1", "-s", "--format=%H", "--", *MIGRATIONS
    ).strip()
    before = git.commit(f"{newest}^") if newest else None
    if before is None and git.output("rev-parse", "--is-shallow-repository").strip() == "true":
        print("    no upgrade: the history of this clone does not reach back to the version before", flush=True)
        return None
    if before is None:
        raise ui.Failure("there is no version before this one's newest migration")
    return before


def _programs_of(run, commit: str) -> Path:
    """Builds the services of a commit, in a folder that later runs find again."""
    home = places.dev_folder() / "before"
    # A target of its own: files of a commit are as old as the commit, and cargo would take another one's programs for new.
    tree = home / commit[:12]
    target = tree / "target"
    for old in home.glob("*"):
        if old != tree:
            shutil.rmtree(old)
    if not tree.exists():
        partial = home / "partial"
        partial.mkdir(parents=True)
        git.unpack(commit, partial)
        partial.rename(tree)
    print(f"    the version before is {commit[:12]}", flush=True)
    packages = [part for service in SERVICES for part in ("-p", f"cqm-{service}")]
    run.call(
        [tools.cargo(), "build", "--locked", "--bins", *packages], cwd=tree,
        env={**tools.cargo_environment(), "CARGO_TARGET_DIR": str(target), "CARGO_INCREMENTAL": "0"},
    )
    return target / "debug"
