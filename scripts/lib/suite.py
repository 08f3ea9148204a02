"""The whole suite in one process: building, starting, waiting until it serves, telling how to call it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from pathlib import Path
from typing import Optional

from lib import places, ports, servers, tools, ui
from lib.processes import Keeper

HOST = "127.0.0.1"
PORT = 50050
# The services migrate their databases before they serve.
START_PATIENCE = 120.0
# SIGTERM drains: longer than a call may last.
ENDINGS = ((signal.SIGTERM, 40.0), (signal.SIGKILL, 5.0))

KEYS = places.DEV / "keys"
SIGNING_KEY = KEYS / "signing.pem"
MAIL = places.DEV / "mail"
READY = places.DEV / "ready.json"


def keeper() -> Keeper:
    return Keeper(places.DEV, "suite")


def address() -> str:
    """Where calls go: as recorded by the last start."""
    return read_ready().get("address") or places.read_state().get("listen") or f"{HOST}:{PORT}"


def read_ready() -> dict:
    """What the suite wrote when it began to serve; empty before that."""
    try:
        return json.loads(READY.read_text())
    except (FileNotFoundError, ValueError):
        return {}


def serves() -> bool:
    ready = read_ready()
    if not ready:
        return False
    host, _, port = ready["address"].rpartition(":")
    return ports.open_for_calls(host, int(port))


def build(*packages: str) -> None:
    """Debug binaries. Cargo shows its own progress."""
    command = [tools.cargo(), "build", *(part for package in packages for part in ("-p", package))]
    ui.heading(f"Building {', '.join(packages)} (the first time takes some minutes)")
    if subprocess.run(command, cwd=places.ROOT, env=tools.cargo_environment(), stdout=2).returncode:
        raise ui.Failure("the build failed; cargo's message stands above")


def binary(name: str) -> Path:
    return tools.target_folder() / "debug" / name


def built_binary(name: str) -> Path:
    path = binary(name)
    if not path.exists():
        raise ui.Failure(f"{path} is not built yet: run ./scripts/dev up first")
    return path


def make_keys() -> None:
    """The key that signs development's tokens, made once."""
    KEYS.mkdir(mode=0o700, exist_ok=True)
    made = subprocess.run([binary("cqm"), "dev-keys", KEYS], capture_output=True, text=True)
    if made.returncode:
        raise ui.Failure(f"the development keys could not be made:\n{made.stdout}{made.stderr}".rstrip())


def start(pair: servers.Servers, port: int) -> None:
    listen = f"{HOST}:{port}"
    READY.unlink(missing_ok=True)
    places.update_state(listen=listen)
    process = keeper()
    process.start(
        [binary("cqm-standalone"), "--data", places.DEV, "--postgres", pair.postgres_url, "--redis", pair.redis_url,
         "--listen", listen],
        cwd=places.ROOT,
    )
    with ui.working("starting the suite (it brings its databases up to date first)"):
        process.wait_until(serves, START_PATIENCE)


def stop() -> Optional[str]:
    """Drains and ends it. Returns how, or None when it did not run."""
    ended = keeper().stop(ENDINGS)
    READY.unlink(missing_ok=True)
    return ended


def guide() -> str:
    """What somebody who sees the suite for the first time needs now; the calls work as pasted."""
    here = Path.cwd() == places.ROOT
    dev = "./scripts/dev" if here else str(places.ROOT / "scripts" / "dev")
    where = address().replace(HOST, "localhost")
    call = f'{_grpcurl(here)} -plaintext -H "authorization: Bearer $({dev} token --role service_manager)"'
    customer = {
        "customer": {
            "display_name": "Li Na",
            "locale": "zh-CN",
            "emails": [{"address": "li.na@example.com", "primary": True}],
        }
    }
    complaint = {
        "complaint": {
            "customer": "CUSTOMER",
            "channel": "CHANNEL_PHONE",
            "category": "CATEGORY_PRODUCT_QUALITY",
            "severity": "SEVERITY_HIGH",
            "subject": "The kettle leaks",
        }
    }
    # The shell puts in what the call before has answered.
    complaint_json = json.dumps(complaint).replace("CUSTOMER", """'"$CUSTOMER"'""")
    return f"""
The suite serves at {where}

A token (any role of the contract, for instance service_representative):
    {dev} token --role service_manager

Three calls to paste, one after the other:

    {call} {where} list

    CUSTOMER=$({call} \\
        -d '{json.dumps(customer)}' \\
        {where} cqm.customers.v1.CustomerService/CreateCustomer \\
        | tee /dev/stderr | grep -o -m 1 'customers/[0-9a-f-]*')

    {call} \\
        -d '{complaint_json}' \\
        {where} cqm.complaints.v1.ComplaintService/RegisterComplaint

Mails   {read_ready().get("mail") or MAIL}
Logs    {keeper().log}   ({dev} logs -f)
Demo    {os.path.join(os.path.dirname(dev), "demo")}
Stop    {dev} down
"""


def _grpcurl(here: bool) -> str:
    """The program as the user's shell finds it: by its bare name, or through a short link to the private copy."""
    program = tools.grpcurl()
    if tools.on_path(program):
        return program.name
    link = places.DEV / "bin" / program.name
    link.parent.mkdir(mode=0o755, exist_ok=True)
    beside = link.with_suffix(".new")
    beside.unlink(missing_ok=True)
    beside.symlink_to(program)
    beside.replace(link)
    return os.path.relpath(link, places.ROOT) if here else shlex.quote(str(link))
