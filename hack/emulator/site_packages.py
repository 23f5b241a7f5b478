"""Prepares what the device plugin mounts into pods: torch for Python 3.11, the stand-ins, and the node's tools.

`python -m emulator.site_packages DEST` leaves DEST/torch, DEST/stand-ins and DEST/bin. Each is a link to a folder
named by its content, replaced at once: pods that run keep the folder they started with. torch (5 GB on disk,
hardlinked from uv's cache where that is on the same file system) is built once per pinned version; the stand-ins
are copied again whenever their source changes. Run by the cluster tool before it starts a node.
"""

import argparse
import compileall
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from emulator import BIN, STAND_INS

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "dev.txt"
# Debian bookworm's interpreter, which the locally built images have.
PYTHON_VERSION = "3.11"
# torch and what importing it needs. PYTHONPATH comes before an image's own packages, so nothing else may be here:
# no numpy (torch does without), no triton (only for GPUs). What remains is pinned to the images' own versions.
_PACKAGES = re.compile(
    r"(torch|filelock|fsspec|jinja2|markupsafe|mpmath|networkx|sympy|typing-extensions|nvidia-[a-z0-9-]+)=="
)
_NEVER_IMPORTED = re.compile(r"/(test|tests|testing|benchmarks)/")


def requirement_subset(lock: str) -> str:
    """The pinned, hashed requirements of torch out of a lock file's text."""
    entries = re.split(r"\n(?=[a-zA-Z0-9])", "\n" + lock)
    kept = [entry.strip("\n") for entry in entries if _PACKAGES.match(entry.lstrip("\n"))]
    if not any(entry.startswith("torch==") for entry in kept):
        raise ValueError("the lock file pins no torch")
    return "\n".join(kept) + "\n"


def install_torch(requirements: str, target: Path) -> None:
    """Fill `target` with the required packages, compiled so that a read-only mount imports quickly."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(requirements)
        file.flush()
        command = [_uv(), "pip", "install", "--target", str(target), "--python-version", PYTHON_VERSION]
        command += ["--no-deps", "--require-hashes", "--quiet", "--requirements", file.name]
        subprocess.run(command, check=True)
    shutil.rmtree(target / "bin", ignore_errors=True)
    if sys.version_info[:2] == tuple(int(part) for part in PYTHON_VERSION.split(".")):
        compileall.compile_dir(target, quiet=1, rx=_NEVER_IMPORTED, workers=0)
    else:
        print(f"not compiled: this is not Python {PYTHON_VERSION}, so importing torch in pods will be slower")


def prepare(destination: Path, requirements: str) -> dict[str, Path]:
    """Bring DEST up to date; returns where each link points."""
    destination.mkdir(parents=True, exist_ok=True)
    with (destination / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _prepare_alone(destination, requirements)


def _prepare_alone(destination: Path, requirements: str) -> dict[str, Path]:
    for leftover in destination.glob(".unfinished-*"):
        shutil.rmtree(leftover)
    return {
        "torch": _keep(
            destination, "torch", _digest([requirements.encode()]), lambda to: install_torch(requirements, to)
        ),
        "stand-ins": _keep(destination, "stand-ins", _tree_digest(STAND_INS), lambda to: _copy(STAND_INS, to)),
        "bin": _keep(destination, "bin", _tree_digest(BIN), lambda to: _copy(BIN, to)),
    }


def _keep(destination: Path, name: str, digest: str, fill: Callable[[Path], None]) -> Path:
    """Make DEST/NAME point at NAME-DIGEST, filling that folder first if it is new; it appears whole or not at all."""
    folder = destination / f"{name}-{digest}"
    if not folder.exists():
        print(f"preparing {folder}", flush=True)
        unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=destination))
        fill(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    link = destination / f".{name}-link"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(destination / name)
    return folder


def _copy(source: Path, target: Path) -> None:
    """Copy so that any user id can read it, whatever the umask of the checkout was."""
    shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    compileall.compile_dir(target, quiet=1)


def _tree_digest(root: Path) -> str:
    files = [path for path in sorted(root.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    return _digest([part for path in files for part in (str(path.relative_to(root)).encode(), path.read_bytes())])


def _digest(parts: Sequence[bytes]) -> str:
    total = hashlib.sha256(PYTHON_VERSION.encode())
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()[:12]


def _uv() -> str:
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.exists() else shutil.which("uv")
    if not found:
        raise SystemExit("uv is missing: pip install uv")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m emulator.site_packages", description=__doc__)
    parser.add_argument("destination", type=Path)
    options = parser.parse_args()
    for name, folder in prepare(options.destination.resolve(), requirement_subset(REQUIREMENTS.read_text())).items():
        print(f"{name}: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
