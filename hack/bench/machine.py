"""On what and with what was measured: the machine, Python, and the versions that matter. No dates."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from bench import peer_environment

PACKAGES = ("uvicorn", "uvloop", "httptools", "orjson", "numpy", "starlette")


def description() -> dict[str, str]:
    return {
        **host(),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "client": _wrk_version(),
        **_peer_versions(),
    }


def host() -> dict[str, str]:
    """What any measurement depends on."""
    return {
        "machine": f"{os.cpu_count()} x {_cpu_model()}, {_memory_gib()} GiB, Linux {platform.release()}",
        "python": platform.python_version(),
    }


def _peer_versions() -> dict[str, str]:
    if not peer_environment.is_installed():
        return {}
    return {"other servers": ", ".join(f"{name} {number}" for name, number in peer_environment.versions().items())}


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2].strip()
    return platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _wrk_version() -> str:
    """`wrk -v` prints its version and ends with 1."""
    try:
        words = subprocess.run(["wrk", "-v"], capture_output=True, text=True, check=False).stdout.split()
    except FileNotFoundError:
        return "the runtime's own bench, for lack of wrk"
    return " ".join(words[:2])
