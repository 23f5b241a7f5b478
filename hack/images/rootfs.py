"""The local base image: Debian bookworm with Python, made by debootstrap, trimmed, cached as one tar.

Used by builds.py where no engine can pull the production base. It holds no package manager's lists, documentation or
locales, and no pip; it stands in for python:3.12-slim and for AWS's image alike, so nothing here may be relied upon
by the code in the images.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from cluster import packages
from images import shell
from images.catalog import BASE_NAME, cache_dir, digest
from images.errors import ImageError

SUITE = "bookworm"
PACKAGES = "python3,ca-certificates"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TRIMMED = (
    "usr/share/doc/*",
    "usr/share/man/*",
    "usr/share/locale/*",
    "usr/share/info/*",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/lib/python3*/pydoc_data",
    "usr/lib/python3*/idlelib",
    "var/cache/apt/*",
    "var/cache/debconf/*",
    "var/lib/apt/lists/*",
    "var/log/*",
    "dev/*",
)
KEY_LABEL = "dev.neuron-serving.base-key"


def base_key() -> str:
    """Changes whenever the base would."""
    return digest(SUITE, PACKAGES, PATH, *TRIMMED)


def trim(root: Path) -> None:
    """Remove what no container needs from an unpacked root file system."""
    for pattern in TRIMMED:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def bootstrap(archive: Path) -> None:
    """Make the root file system and pack it into `archive`; takes about a minute."""
    if os.geteuid() != 0:
        raise ImageError("the local base is made by debootstrap, which needs root; run as root or give --base-image")
    packages.ensure([packages.Need("debootstrap", "debootstrap")])
    print(f"images: making the base (Debian {SUITE} with Python) once, about a minute", flush=True)
    mirror = os.environ.get("NEURON_SERVING_DEBIAN_MIRROR")
    archive.parent.mkdir(parents=True, exist_ok=True)
    # Beside the cache rather than in /tmp, which may be small or mounted nodev.
    with tempfile.TemporaryDirectory(dir=archive.parent) as folder:
        root = Path(folder, "root")
        shell.run(
            [
                "debootstrap",
                "--variant=minbase",
                f"--include={PACKAGES}",
                SUITE,
                str(root),
                *([mirror] if mirror else []),
            ]
        )
        trim(root)
        packed = Path(folder, archive.name)
        shell.run(["tar", "-C", str(root), "--sort=name", "--numeric-owner", "-cf", str(packed), "."])
        packed.rename(archive)


def ensure_base() -> str:
    """The name of an up-to-date base image, made if it is not there."""
    key = base_key()
    known = ["buildah", "inspect", "--type", "image", "--format", f'{{{{index .OCIv1.Config.Labels "{KEY_LABEL}"}}}}']
    if shell.succeeds([*known, BASE_NAME]) and shell.run([*known, BASE_NAME]).strip() == key:
        return BASE_NAME
    archive = cache_dir() / "images" / f"base-{SUITE}-{key}.tar"
    if not archive.exists():
        bootstrap(archive)
    container = shell.run(["buildah", "from", "scratch"]).strip()
    try:
        shell.run(["buildah", "add", "--quiet", container, str(archive), "/"])
        shell.run(["buildah", "config", "--env", f"PATH={PATH}", "--env", "LANG=C.UTF-8", container])
        shell.run(["buildah", "config", "--label", f"{KEY_LABEL}={key}", container])
        shell.run(["buildah", "commit", "--quiet", "--format", "docker", container, BASE_NAME])
    finally:
        shell.run(["buildah", "rm", container])
    return BASE_NAME
