"""The images of this repository: names, Dockerfiles, where their inputs come from, and the cache they share.

Everything here is a value; nothing runs. The names are local only: no registry is ever asked for them.
"""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from cluster.settings import from_environment

REPOSITORY = Path(__file__).resolve().parents[2]
PREFIX = "docker.io/neuron-serving"
BASE_NAME = f"{PREFIX}/base:bookworm"
# The Python of Debian bookworm, which the local base carries.
BASE_PYTHON = "3.11"


@dataclass(frozen=True)
class Image:
    """One image that `build` knows how to make."""

    name: str
    tag_name: str
    dockerfile: str
    summary: str
    # Without pinned requirements an image has no Python in it and no base but scratch.
    requirements: str = ""


IMAGES = {
    image.name: image
    for image in (
        Image(
            "operator",
            f"{PREFIX}/operator:dev",
            "operator/Dockerfile",
            "turns NeuronModels into pods",
            "requirements/operator.txt",
        ),
        Image(
            "runtime",
            f"{PREFIX}/runtime:dev",
            "runtime/Dockerfile",
            "serves a model on NeuronCores",
            "requirements/runtime.txt",
        ),
        Image("s3", f"{PREFIX}/versitygw:dev", "hack/images/s3.Dockerfile", "the demo's S3 server"),
    )
}


def cache_dir() -> Path:
    """Where everything downloaded or built once is kept, outside the repository."""
    return from_environment(os.environ).cache


def digest(*parts: str | bytes) -> str:
    """A short content hash of `parts`, in order, for cache keys."""
    sha = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        sha.update(len(data).to_bytes(8, "big") + data)
    return sha.hexdigest()[:16]


def wheel_platforms(machine: str = "", newest_glibc_minor: int = 36) -> tuple[str, ...]:
    """Wheel platform tags that a base with glibc 2.`newest_glibc_minor` accepts, newest first.

    pip widens neither manylinux_2_x tags nor the old names by itself when the target is another Python.
    """
    machine = machine or platform.machine()
    legacy = ("manylinux2014", "manylinux2010", "manylinux1")
    return (
        *(f"manylinux_2_{minor}_{machine}" for minor in range(newest_glibc_minor, 4, -1)),
        *(f"{name}_{machine}" for name in legacy),
        f"linux_{machine}",
    )
