"""Builds one image for each service: the optimised program on an empty file system, as an OCI archive.

Needs buildah, no daemon and no registry. The same sources, tools and time give the same digest: paths of the machine are
taken out of the program, and every file has the time of the last commit (or SOURCE_DATE_EPOCH).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from lib import git, places, sbom, tools, ui

SERVICES = ("customer-data", "complaints", "surveys", "notifications", "loyalty", "gateway")
ACCOUNT = 65532
LIMIT = 40 * 1000 * 1000
# What the resolver of the C library asks, and who the process is; nobody logs in.
FILES = {
    "etc/nsswitch.conf": "hosts: files dns\n",
    "etc/passwd": f"root:x:0:0:root:/:/nologin\ncqm:x:{ACCOUNT}:{ACCOUNT}:cqm:/:/nologin\n",
    "etc/group": f"root:x:0:\ncqm:x:{ACCOUNT}:\n",
}
# Whom a mail server's certificate, or a token issuer's, may come from.
CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


@dataclass(frozen=True)
class Image:
    service: str
    archive: Path
    digest: str
    size: int


@dataclass(frozen=True)
class Origin:
    """What the image says of where it comes from."""

    version: str
    revision: str
    epoch: int

    @property
    def created(self) -> str:
        return datetime.fromtimestamp(self.epoch, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    services = options.service or list(SERVICES)
    folder = Path(options.output).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    programs = compiled(services)
    for service in services:
        image = build(service, programs / f"cqm-{service}", folder)
        ui.say(f"    cqm-{service:<14} {image.size / 1e6:>5.1f} MB  {image.digest}  {image.archive}")
    return 0


def compiled(services: list[str]) -> Path:
    """The folder with the optimised programs. A folder of their own beside the others': the flags would have everything
    compiled anew, there and back."""
    home = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
    target = tools.target_folder() / "image"
    flags = f"--remap-path-prefix={places.ROOT}=/cqm --remap-path-prefix={home}=/cargo"
    packages = [word for service in services for word in ("--package", f"cqm-{service}")]
    answer = subprocess.run(
        [tools.cargo(), "build", "--release", "--locked", "--bins", "--target-dir", target, *packages],
        cwd=places.ROOT, env={**tools.cargo_environment(), "RUSTFLAGS": flags}, stdin=subprocess.DEVNULL,
    )
    if answer.returncode:
        raise ui.Failure("the programs do not build")
    return target / "release"


def build(service: str, program: Path, folder: Path, limit: int = LIMIT) -> Image:
    """Puts an image together and writes it into the folder."""
    origin = origin_of()
    archive = folder / f"cqm-{service}.tar"
    with tempfile.TemporaryDirectory(prefix="cqm-image-") as scratch:
        context = Path(scratch) / "context"
        fill(context / "root", service, program, origin)
        shutil.copy(places.ROOT / "Dockerfile", context)
        size = sum(path.stat().st_size for path in (context / "root").rglob("*") if path.is_file())
        if size > limit:
            raise ui.Failure(f"cqm-{service} would have {size / 1e6:.1f} MB, more than {limit / 1e6:.0f}")
        store = ["--root", f"{scratch}/store", "--runroot", f"{scratch}/run", "--storage-driver", "vfs"]
        given = {"SERVICE": service, "VERSION": origin.version, "REVISION": origin.revision, "CREATED": origin.created}
        _buildah(
            *store, "build", "--isolation", "chroot", "--format", "oci", "--layers=false", "--timestamp", str(origin.epoch),
            *(word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")),
            "--tag", f"cqm-{service}:{origin.version}", str(context),
        )
        archive.unlink(missing_ok=True)
        digest = Path(scratch) / "digest"
        _buildah(*store, "push", "--digestfile", str(digest), f"cqm-{service}:{origin.version}",
                 f"oci-archive:{archive}:cqm-{service}:{origin.version}")
        return Image(service, archive, digest.read_text().strip(), size)


def fill(root: Path, service: str, program: Path, origin: Origin) -> None:
    """The whole content of an image."""
    root.mkdir(parents=True)
    subprocess.run(["strip", "--strip-all", "-o", root / "cqm", program], check=True)
    for library in libraries(program):
        place = root / library.relative_to("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library.resolve(), place)
    for name, text in FILES.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    certificates = next((Path(path) for path in CERTIFICATES if Path(path).exists()), None)
    if certificates is None:
        raise ui.Failure("This machine has no CA certificates to put into an image (Debian, Ubuntu: apt-get install ca-certificates).")
    place = root / "etc/ssl/certs/ca-certificates.crt"
    place.parent.mkdir(parents=True)
    shutil.copy(certificates, place)
    place = root / f"usr/share/sbom/cqm-{service}.cdx.json"
    place.parent.mkdir(parents=True)
    bill = sbom.of(f"cqm-{service}", origin.created, libraries(program))
    place.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n")
    for path in root.rglob("*"):
        path.chmod(0o755 if path.is_dir() or path.name.startswith(("cqm", "ld-")) and path.suffix != ".json" else 0o644)


def libraries(program: Path) -> list[Path]:
    """What the program has loaded, the loader included, under the names by which it asks for them."""
    answer = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
    return loaded(answer.stdout)


def loaded(text: str) -> list[Path]:
    """The paths in what ldd prints; the kernel's own library has none."""
    return sorted({Path(path) for path in re.findall(r"(/\S+) \(0x", text)})


def origin_of() -> Origin:
    manifest = (places.ROOT / "Cargo.toml").read_text()
    version = re.search(r'\[workspace\.package\]\nversion = "([^"]+)"', manifest)
    revision = git.asked("rev-parse", "HEAD") or "unknown"
    if git.asked("status", "--porcelain"):
        revision += "-dirty"
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or git.asked("log", "-1", "--format=%ct") or "0"
    return Origin(version.group(1), revision, int(epoch))


def _buildah(*arguments: str) -> None:
    command = [tools.container_tool("buildah"), *arguments]
    answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if answer.returncode:
        raise ui.Failure(f"buildah {' '.join(arguments[6:8])}: {answer.stderr.strip()[-2000:]}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./scripts/image", description=__doc__)
    parser.add_argument("service", nargs="*", choices=[*SERVICES, []], help="all of them when none is named")
    parser.add_argument("--output", default=str(tools.target_folder() / "images"), metavar="FOLDER", help="where the archives go")
    return parser
