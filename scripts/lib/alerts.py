"""The alerts' own tests, and whether Prometheus understands the dashboards, by promtool. Runs with the modules of tools.chart_modules."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from lib import alert_cases, dashboards, places, tools, ui

RULES = places.ROOT / "charts" / "cqm" / "files" / "alerts.yaml"


def main() -> int:
    # Only here, so that the rest can be tested without PyYAML.
    from lib.chart_render import read

    groups = read(RULES.read_text())[0]
    missing = alert_cases.untested(groups)
    if missing:
        raise ui.Failure("\n".join(missing))
    promtool = tools.promtool()
    with tempfile.TemporaryDirectory(prefix="cqm-alerts-") as folder:
        # JSON is YAML.
        Path(folder, "rules.json").write_text(json.dumps({"groups": groups}))
        tests = {"rule_files": ["rules.json"], "evaluation_interval": "1m", "tests": alert_cases.tests(groups)}
        Path(folder, "tests.json").write_text(json.dumps(tests))
        queries = alert_cases.as_rules(dashboards.all_texts())
        Path(folder, "queries.json").write_text(json.dumps({"groups": queries}))
        for arguments in (["check", "rules", "rules.json", "queries.json"], ["test", "rules", "tests.json"]):
            answer = subprocess.run([promtool, *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if answer.returncode:
                raise ui.Failure(f"promtool {' '.join(arguments)}:\n{answer.stdout.strip()}\n{answer.stderr.strip()}")
    cases, alerts, shown = len(alert_cases.CASES), *(sum(len(group["rules"]) for group in one) for one in (groups, queries))
    print(f"    {cases} cases of {alerts} alerts; {shown} queries of dashboards", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(ui.guarded(lambda _: main(), []))
