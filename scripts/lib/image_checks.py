"""Builds an image twice and runs it: as a step of ./scripts/test.

The program is the unoptimised one that the step `build` has left, because the optimised one takes minutes; the optimised one
is smaller. Everything else is as ./scripts/image does it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Optional

from lib import image, places, servers, tools, ui

SERVICE = "complaints"
# An unoptimised program is half as large again as the one that ships, which ./scripts/image holds to its own limit.
UNOPTIMISED_LIMIT = image.LIMIT * 3 // 2
DATABASE = "cqm_image"
PATIENCE = 30.0
# What a pod of the chart gives it.
POD = ("--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges", "--network=host")
# Less than what a sandbox allows; more cannot be asked for there.
LIMITS = ("--ulimit=nofile=20000:20000", "--ulimit=nproc=4096:4096")


def step(run) -> None:
    missing = tools.missing_container_tools()
    if missing:
        # Nothing but root can install them; CI is root.
        print(f"    not checked: there is no {' and no '.join(missing)} (Debian, Ubuntu: apt-get install {' '.join(missing)})", flush=True)
        return
    program = tools.target_folder() / "debug" / f"cqm-{SERVICE}"
    if not program.exists():
        raise ui.Failure(f"{program.name} is not built: ./scripts/test --only build")
    with tempfile.TemporaryDirectory(prefix="cqm-image-check-") as scratch, servers.thrown_away() as pair:
        folders = [Path(scratch, name) for name in ("one", "two")]
        for folder in folders:
            folder.mkdir()
        one, two = (image.build(SERVICE, program, folder, UNOPTIMISED_LIMIT) for folder in folders)
        if one.digest != two.digest:
            raise ui.Failure(f"two builds give two digests: {one.digest} and {two.digest}")
        print(f"    two builds, one digest: {one.digest}; {one.size / 1e6:.1f} MB unoptimised", flush=True)
        _contents(one)
        with Podman(Path(scratch, "podman"), one.archive) as podman:
            _life(podman, pair)


def _contents(built: image.Image) -> None:
    """What the archive says of itself, read without the tools that made it."""
    with tarfile.open(built.archive) as archive:
        def blob(digest: str) -> bytes:
            return archive.extractfile(f"blobs/{digest.replace(':', '/')}").read()

        (manifest,) = json.loads(archive.extractfile("index.json").read())["manifests"]
        manifest = json.loads(blob(manifest["digest"]))
        config = json.loads(blob(manifest["config"]["digest"]))
        names: list[str] = []
        bill: Optional[dict] = None
        for layer in manifest["layers"]:
            with tempfile.TemporaryFile() as file:
                file.write(blob(layer["digest"]))
                file.seek(0)
                with tarfile.open(fileobj=file) as files:
                    for member in files:
                        names.append(member.name)
                        if member.name.endswith(".cdx.json"):
                            bill = json.loads(files.extractfile(member).read())
    labels, user = config["config"]["Labels"], config["config"]["User"]
    wanted = {"title": f"cqm-{SERVICE}", "licenses": "Apache-2.0", "version": image.origin_of().version}
    for label, value in wanted.items():
        if labels.get(f"org.opencontainers.image.{label}") != value:
            raise ui.Failure(f"the label {label} is {labels.get(f'org.opencontainers.image.{label}')!r} instead of {value!r}")
    if user != f"{image.ACCOUNT}:{image.ACCOUNT}":
        raise ui.Failure(f"runs as {user!r}")
    shells = [name for name in names if name.rsplit("/", 1)[-1] in ("sh", "bash", "busybox", "apt")]
    if shells:
        raise ui.Failure(f"holds more than the program: {', '.join(shells)}")
    parts = {part["name"] for part in (bill or {}).get("components", [])}
    if not {"tonic", "diesel", "cqm-runtime", "libc.so.6"} <= parts:
        raise ui.Failure("the bill of materials is missing or does not name what the program is made of")
    print(f"    labels, user {user}, {len(names)} files, a bill of {len(parts)} parts", flush=True)


def _life(podman: "Podman", pair: servers.Servers) -> None:
    """Migrates, serves, answers, and ends in order when it is asked to."""
    psql = [pair.postgres_programs / "psql", "--no-psqlrc", "--quiet", "--dbname", pair.database_url("postgres")]
    subprocess.run([*psql, "--command", f"CREATE DATABASE {DATABASE}"], check=True, stdin=subprocess.DEVNULL)
    # The image's account has to get there; the folder is this run's own and the way to it is not secret.
    pair.sockets.chmod(0o711)
    sockets = dict(word.split("=", 1) for word in pair.database_url(DATABASE).split())["host"]
    calls, admin = _free_ports(2)
    environment = {
        "CQM__DATABASE__URL": pair.database_url(DATABASE).replace(f"host={sockets}", "host=/sockets"),
        "CQM__SERVER__LISTEN": f"127.0.0.1:{calls}",
        "CQM__SERVER__PLAINTEXT": "true",
        "CQM__SERVER__DRAIN__SETTLE": "1s",
        "CQM__TELEMETRY__LISTEN": f"127.0.0.1:{admin}",
    }
    # The keys that tests sign passes with: without any, a service takes no call and does not start.
    passes = places.ROOT / "services" / "common" / "testkit" / "passes"
    volumes = [f"--volume={sockets}:/sockets", f"--volume={passes}:/etc/cqm/passes:ro"]
    inside = [f"--env={name}={value}" for name, value in environment.items()] + volumes
    podman.run("run", "--rm", *POD, *LIMITS, *inside, podman.image, "migrate")
    name = podman.run("run", "--detach", "--name=cqm", *POD, *LIMITS, *inside, podman.image).strip()
    try:
        _until("serves", lambda: _health(calls, "readiness") == "SERVING")
        if _health(admin, "liveness") != "SERVING":
            raise ui.Failure("the admin port does not say that the process lives")
        with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=5) as answer:
            if b"db_client_connection_max{" not in answer.read():
                raise ui.Failure("/metrics has no figures")
        process = podman.run("inspect", "--format={{.State.Pid}}", "cqm").strip()
        status = Path(f"/proc/{process}/status").read_text()
        if f"Uid:\t{image.ACCOUNT}\t" not in status:
            raise ui.Failure("the process runs as somebody else than 65532")
        podman.run("kill", "--signal=TERM", "cqm")
        _until("says that it goes", lambda: _health(admin, "readiness") == "NOT_SERVING")
        code = podman.run("wait", "cqm").strip()
        if code != "0":
            raise ui.Failure(f"SIGTERM ended it with the exit code {code}")
    except ui.Failure as failure:
        raise ui.Failure(f"{failure}\n{podman.logs('cqm')}") from failure
    finally:
        podman.run("rm", "--force", name)
    print("    migrated, served on a read-only root as 65532, drained and ended with 0 on SIGTERM", flush=True)


class Podman:
    """A store of its own, gone afterwards."""

    def __init__(self, folder: Path, archive: Path):
        self._folder = folder
        self._archive = archive
        self.image = ""

    def __enter__(self) -> "Podman":
        loaded = self.run("load", "--quiet", "--input", str(self._archive))
        self.image = loaded.strip().rsplit(" ", 1)[-1]
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(ui.Failure):
            self.run("rm", "--all", "--force")

    def run(self, *arguments: str) -> str:
        answer = self._call(*arguments)
        if answer.returncode:
            raise ui.Failure(f"podman {arguments[0]}: {answer.stderr.strip()[-2000:]}")
        return answer.stdout

    def logs(self, name: str) -> str:
        answer = self._call("logs", name)
        return answer.stdout + answer.stderr

    def _call(self, *arguments: str) -> subprocess.CompletedProcess:
        own = [
            "--root", self._folder / "store", "--runroot", self._folder / "run", "--tmpdir", self._folder / "tmp",
            "--storage-driver", "vfs", "--runtime", tools.container_tool("runc"), "--cgroup-manager", "cgroupfs",
        ]
        return subprocess.run(
            [str(part) for part in (tools.container_tool("podman"), *own, *arguments)],
            env={**os.environ, "STORAGE_DRIVER": "vfs"}, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )


def _health(port: int, service: str) -> str:
    """What gRPC's health says; empty while nobody answers."""
    answer = subprocess.run(
        [tools.grpcurl(), "-plaintext", "-max-time", "2", "-import-path", str(_proto()), "-proto", "health.proto", "-d",
         json.dumps({"service": service}), f"127.0.0.1:{port}", "grpc.health.v1.Health/Check"],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )
    return json.loads(answer.stdout).get("status", "") if answer.returncode == 0 else ""


def _proto() -> Path:
    """The contract of health: the admin port describes nothing."""
    return Path(__file__).with_name("proto")


def _until(what: str, holds) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise ui.Failure(f"it never {what}")
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]
