"""Whether the programs take the configuration that the chart gives them. Runs with the modules of tools.chart_modules.

Each is started with the environment of its pod and a database that is not there. It must get as far as missing that: a
variable that it does not know, or a value without sense, ends it before, with the exit code 2.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lib import chart_rules as rules, ui

REFUSES_CONFIGURATION = 2
# Long enough for a key of links.
SECRET = "0123456789abcdef0123456789abcdef"
SECRETS = {
    # Nobody listens on port 1.
    "CQM__DATABASE__URL": "postgres://nobody:secret@127.0.0.1:1/nothing",
    "CQM__CACHE__REDIS_URL": "redis://127.0.0.1:1",
    # 32 bytes in base64.
    "CQM__CACHE__KEY": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
}


def runs(things: list[dict]) -> list[tuple[str, str, str, dict]]:
    """Owner, program, subcommand and environment of each pod; `check` stands for what would go on for ever."""
    maps = {thing["metadata"]["name"]: thing["data"] for thing in things if thing["kind"] == "ConfigMap"}
    found = []
    for owner, pod in rules.pods(things):
        (container,) = pod["containers"]
        if container["args"][0] not in ("serve", "coordinate", "migrate"):
            continue
        environment = {}
        for source in container.get("envFrom", []):
            environment.update(maps[source["configMapRef"]["name"]])
        for variable in container.get("env", []):
            environment[variable["name"]] = variable.get("value", SECRETS.get(variable["name"], SECRET))
        program = container["image"].rsplit("/", 1)[-1].split("@")[0].split(":")[0]
        found.append((owner, program, "migrate" if container["args"] == ["migrate"] else "check", environment))
    return found


def main(folder: Path) -> int:
    # Only here, so that the rest can be tested without PyYAML.
    from lib.chart_render import Helm, all_values

    helm, tried, problems = Helm(), 0, []
    for name, values in all_values().items():
        for owner, program, subcommand, environment in runs(helm.render(values)):
            if not (folder / program).exists():
                raise ui.Failure(f"{program} is not built: ./scripts/test --only build")
            answer = subprocess.run(
                [folder / program, subcommand], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
            )
            tried += 1
            if answer.returncode == REFUSES_CONFIGURATION or answer.returncode < 0:
                problems.append(f"{name}, {owner}: {answer.stderr.strip()}")
    if problems:
        raise ui.Failure("programs refuse the chart's configuration:\n" + "\n".join(problems[:10]))
    print(f"    {tried} pods' configurations are taken", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(ui.guarded(lambda arguments: main(Path(arguments[0])), sys.argv[1:]))
