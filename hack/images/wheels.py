"""Wheels for an image, downloaded on the host and checked against the pinned hashes.

Used by builds.py as the Dockerfiles' `wheels` context, so that a build itself needs no network and no pip. One folder
in the cache per requirements file, target Python and machine; a folder that is there is complete.
"""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

from images import shell
from images.catalog import REPOSITORY, cache_dir, digest, wheel_platforms

INSTALLER = "hack/images/installer.txt"


def wheels_key(requirements: str, python_version: str) -> str:
    """Changes with what would be downloaded."""
    texts = [(REPOSITORY / name).read_text() for name in (requirements, INSTALLER)]
    return digest(*texts, python_version, platform.machine())


def download_command(requirements: str, python_version: str, destination: Path) -> list[str]:
    """pip's download of exactly the pinned wheels for another Python than the one that runs it."""
    abi = f"cp{python_version.replace('.', '')}"
    return [
        *(sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"),
        *("--no-deps", "--require-hashes", "--only-binary=:all:", f"--dest={destination}"),
        *(f"--python-version={python_version}", "--implementation=cp", f"--abi={abi}", "--abi=abi3", "--abi=none"),
        *(f"--platform={tag}" for tag in wheel_platforms()),
        *("-r", str(REPOSITORY / requirements), "-r", str(REPOSITORY / INSTALLER)),
    ]


def ensure_wheels(requirements: str, python_version: str) -> Path:
    """The folder with every wheel of `requirements`, and pip's."""
    name = Path(requirements).stem
    folder = cache_dir() / "wheels" / f"{name}-{wheels_key(requirements, python_version)}"
    if folder.exists():
        return folder
    print(f"images: downloading the {name}'s wheels for Python {python_version}", flush=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        partial = Path(temporary, "wheels")
        partial.mkdir()
        shell.run(download_command(requirements, python_version, partial))
        partial.rename(folder)
    return folder
