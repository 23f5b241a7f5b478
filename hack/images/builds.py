"""Builds the images with buildah, in a chroot: no daemon, no container engine, no privileges beyond root.

Called by `python -m images build` and by reload. The same Dockerfiles build with any other engine; what this adds is
the local base, the wheels and the layer cache. Building twice changes nothing and takes a second.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import tomllib
from dataclasses import dataclass

from cluster import binaries, packages, targets
from cluster.settings import from_environment
from images import rootfs, shell, wheels
from images.catalog import BASE_NAME, BASE_PYTHON, IMAGES, REPOSITORY, Image, cache_dir, digest

INSTALL_SCRIPT = "hack/images/install.py"
# What docker builds on for kind: the local base's Python, so that the emulated node's torch fits.
DOCKER_BASE = f"docker.io/library/python:{BASE_PYTHON}-slim"


BUILDAH = ("buildah", "build", "--isolation=chroot", "--format=docker", "--layers")


@dataclass(frozen=True)
class Base:
    """What a Python image is built on; an empty name means the local base."""

    image: str = ""
    python_version: str = BASE_PYTHON


@dataclass(frozen=True)
class Built:
    """An image in buildah's store."""

    image_id: str
    size_mb: float


def product_version() -> str:
    """The version in pyproject.toml, which the images carry as a label."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def lookup(name: str) -> Built | None:
    """The image called `name`, or None if it is not in the store."""
    listed = subprocess.run(["buildah", "inspect", "--type", "image", name], capture_output=True, check=False)
    if listed.returncode:
        return None
    image_id = str(json.loads(listed.stdout)["FromImageID"])
    images = json.loads(shell.run(["buildah", "images", "--json", name]))
    return Built(image_id, size_mb(str(images[0]["size"])))


def size_mb(text: str) -> float:
    """buildah's rounded size, such as `228 MB`, in units of 10⁶ bytes."""
    number, unit = text.split()
    return float(number) * {"B": 1e-6, "KB": 1e-3, "MB": 1.0, "GB": 1e3}[unit]


def python_arguments(image: Image, base: Base) -> list[str]:
    """Build arguments and contexts of an image with Python in it."""
    folder = wheels.ensure_wheels(image.requirements, base.python_version)
    key = digest(folder.name, (REPOSITORY / INSTALL_SCRIPT).read_text())
    return [
        f"--build-arg=BASE_IMAGE={base.image or rootfs.ensure_base()}",
        f"--build-arg=DEPENDENCIES_KEY={key}",
        f"--build-arg=VERSION={product_version()}",
        f"--build-context=wheels={folder}",
    ]


def build_command(image: Image, base: Base, *engine: str) -> list[str]:
    """The whole command for `image`; `engine` is a program and its own options, then come what all engines share."""
    command = [*engine, f"--tag={image.tag_name}", f"--file={REPOSITORY / image.dockerfile}"]
    if image.requirements:
        return [*command, *python_arguments(image, base), str(REPOSITORY)]
    # The Go programs are built where they are not yet: this image is one of them and nothing else.
    return [*command, str(binaries.build(from_environment(os.environ)))]


def build(image: Image, base: Base) -> str:
    """Build `image` with the engine of the chosen cluster, buildah or docker for kind; the id, where that is known."""
    if targets.chosen() == "kind":
        build_with_docker(image)
        return ""
    return build_with_buildah(image, base)


def build_with_buildah(image: Image, base: Base) -> str:
    """Build `image` and drop the one it replaces, so that a day of rebuilding does not fill the disk."""
    packages.ensure(packages.FOR_IMAGES)
    with shell.locked(cache_dir() / "images" / "lock"):
        started = time.monotonic()
        before = lookup(image.tag_name)
        shell.run(build_command(image, base, *BUILDAH))
        built = lookup(image.tag_name)
        assert built is not None, f"buildah built {image.tag_name} but does not know it"
        if before is not None and before.image_id != built.image_id:
            shell.succeeds(["buildah", "rmi", before.image_id])
    print(f"images: {image.tag_name} {built.size_mb:.0f} MB in {time.monotonic() - started:.1f} s", flush=True)
    return built.image_id


def build_with_docker(image: Image) -> None:
    """The same for kind, which takes its images from docker."""
    started = time.monotonic()
    shell.run(build_command(image, Base(DOCKER_BASE), "docker", "build"))
    print(f"images: {image.tag_name} in {time.monotonic() - started:.1f} s", flush=True)


def build_base() -> None:
    """Make the local base alone."""
    packages.ensure(packages.FOR_IMAGES)
    with shell.locked(cache_dir() / "images" / "lock"):
        rootfs.ensure_base()


def clean(*, with_cache: bool) -> None:
    """Remove our images and the layers only they use; with `with_cache` also the base's tar and the wheels."""
    names = [*(image.tag_name for image in IMAGES.values()), BASE_NAME]
    with shell.locked(cache_dir() / "images" / "lock"):
        for name in names:
            shell.succeeds(["buildah", "rmi", "--force", name])
        if with_cache:
            for path in (*(cache_dir() / "images").glob("base-*.tar"), *(cache_dir() / "wheels").glob("*/*.whl")):
                path.unlink()
            for folder in (cache_dir() / "wheels").glob("*/"):
                folder.rmdir()
