"""Holds the migrations to what two versions side by side can bear: expand first, contract a version later.

squawk finds what takes a table's lock for long, and what the version before would miss. A finding that is right and meant
stands below with its reason, for the one migration that it was found in.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lib import places, tools, ui

OLDEST_POSTGRES = "15"
# Rules that are not this project's, each with the reason.
EXCLUDED = {
    # Codes of closed sets, versions of questionnaires, counts of attempts: never near 2^31. Ids and points are wider.
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    # Each migration is one transaction: a half that fails leaves nothing to be run again.
    "prefer-robust-stmts",
    # `migrate` sets both for its whole session, cqm_db::run.
    "require-lock-timeout",
    "require-statement-timeout",
}
# By migration and rule. A contracting migration says here since which version nothing reads what goes.
EXPLAINED = {
    "20261126030000_tiers": {
        "adding-field-with-default": "before the first release: there is no table of members yet that could be large",
        "adding-foreign-key-constraint": "the column is new and empty",
        "constraint-missing-not-valid": "the columns are new and empty",
        "disallowed-unique-constraint": "before the first release, as above",
        "require-concurrent-index-creation": "the column is new and empty",
    },
    "20261126060000_reports": {
        "require-concurrent-index-creation": "before the first release: there are no entries yet",
    },
    "20261126070000_sla": {
        "ban-drop-constraint": "a wider one takes its place in the same transaction",
    },
    # A row for each person who is to be forgotten: few, and read in no time.
    "20261127000000_merged_subjects": {
        "ban-drop-constraint": "it comes back wider in the same statement",
        "constraint-missing-not-valid": "few rows, as above",
        "require-concurrent-index-creation": "few rows, and the column is new and empty",
    },
    "20261128000000_restricted_subjects": {
        "require-concurrent-index-creation": "few rows, as above",
        "require-concurrent-index-deletion": "few rows, as above",
    },
    "20261127010000_merged_members": {
        "ban-drop-constraint": "it comes back wider in the same statement",
        "constraint-missing-not-valid": "before the first release: there are no rows to read",
        "require-concurrent-index-creation": "before the first release, as above",
    },
    "20261127020000_open_complaints": {
        "require-concurrent-index-creation": "before the first release: there are no complaints yet",
    },
}


def step(_run) -> None:
    migrations = sorted((places.ROOT / "services").glob("**/migrations/*/up.sql"))
    if not migrations:
        raise ui.Failure("there are no migrations")
    answer = subprocess.run(
        [tools.squawk(), "--assume-in-transaction", "--pg-version", OLDEST_POSTGRES, "--reporter", "json",
         "--exclude", ",".join(sorted(EXCLUDED)), *migrations],
        cwd=places.ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )
    try:
        found = json.loads(answer.stdout)
    except ValueError:
        raise ui.Failure(f"squawk says nothing readable: {answer.stderr.strip()[-2000:]}") from None
    problems = judged(found, EXPLAINED)
    problems += [f"{path.parent.name} has no down.sql" for path in migrations if not path.with_name("down.sql").exists()]
    if problems:
        raise ui.Failure("\n".join(problems))
    print(f"    {len(migrations)} migrations", flush=True)


def judged(found: list[dict], explained: dict) -> list[str]:
    """What is found and not explained, and what is explained and not found."""
    problems, met = [], set()
    for one in found:
        name = Path(one["file"]).parent.name
        if one["rule_name"] in explained.get(name, {}):
            met.add((name, one["rule_name"]))
            continue
        problems.append(f"{name}, line {one['line'] + 1}: {one['rule_name']}: {one['message']}")
    return problems + [
        f"{name} is excused from {rule}, which finds nothing in it"
        for name, rules in explained.items() for rule in rules if (name, rule) not in met
    ]
