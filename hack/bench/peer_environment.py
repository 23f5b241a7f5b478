"""The peers' own Python environment, in the product's cache under the digest of its lock: made once, then kept.

It cannot be ours: MLServer 1.7.1 needs an older uvloop and FastAPI than the runtime is built on.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from bench.errors import BenchError
from bench.servers import ROOT
from cluster.progress import step
from cluster.settings import from_environment

LOCK = ROOT / "requirements" / "peers.txt"
PACKAGES = ("mlserver", "litserve", "bentoml", "fastapi", "uvicorn", "uvloop", "torch")
_VERSIONS = "import importlib.metadata as m, json, sys; print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))"


def python() -> Path:
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    return from_environment(os.environ).cache / "peers" / digest / "bin" / "python"


def is_installed() -> bool:
    return _mark().exists()


def install() -> None:
    """Make the environment unless it is there; several GB the first time, because of PyTorch."""
    if is_installed():
        return
    uv = Path(sys.executable).with_name("uv")
    folder = python().parents[1]
    with step(f"installing the other servers into {folder}"):
        _run([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        options = ["--quiet", "--require-hashes", "--requirements", str(LOCK)]
        _run([str(uv), "pip", "install", "--python", str(python()), *options])
    _mark().touch()


def versions() -> dict[str, str]:
    command = [str(python()), "-c", _VERSIONS, *PACKAGES]
    found: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


def _mark() -> Path:
    """Written last: an installation that was interrupted is made again."""
    return python().parents[1] / "installed"


def _run(command: list[str]) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        raise BenchError(f"the other servers cannot be installed: {ran.stderr.strip()[-500:]}")
