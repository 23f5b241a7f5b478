"""Installs a locked set of requirements into an image, for both Dockerfiles; runs inside the build.

Only the standard library: it runs on the base image's own Python, whatever its version, before anything is installed.
The result is a virtual environment that sees the base's packages behind its own, so that PYTHONPATH, set by a device
plugin or by a user, adds to it. Packages named by --keep stay the base's when the base has them. Pruning and byte
code happen here, in the layer that makes the files, because a later layer could hide them but not make them smaller.
"""

from __future__ import annotations

import argparse
import compileall
import importlib.metadata
import py_compile
import re
import shutil
import stat
import subprocess
import sys
import venv
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/opt/neuron-serving")
ETC = Path("/etc")
USER_ID = 65532
# What no program needs at run time.
ALWAYS_DROPPED = ("bin", "**/tests", "**/__pycache__", "**/*.pyi", "**/*.pyx", "**/*.pxd", "**/*.c", "**/*.h", "**/*.a")


class Plan(NamedTuple):
    """What to install, where, and what to leave out of it."""

    root: Path
    requirements: Path
    wheels: Path
    keep: tuple[str, ...]
    drop: tuple[str, ...]
    spare: tuple[str, ...]


def requirement_blocks(text: str) -> dict[str, str]:
    """A hashed requirements file as package name -> its lines."""
    blocks: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==", line):
            name = re.sub(r"[-_.]+", "-", match[1]).lower()
            blocks[name] = ""
        if name:
            blocks[name] += f"{line}\n"
    return blocks


def in_base(name: str) -> bool:
    """Whether the base image's own Python already has this distribution."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def pip_command(wheels: Path) -> list[str]:
    """pip as the base has it, or run from its wheel where it does not; from the wheels alone when there are any."""
    carried = sorted(wheels.glob("pip-*.whl"))
    pip = [sys.executable, str(carried[-1] / "pip")] if carried else [sys.executable, "-m", "pip"]
    source = ["--no-index", f"--find-links={wheels}"] if any(wheels.glob("*.whl")) else ["--no-cache-dir"]
    return [*pip, "install", "--quiet", "--disable-pip-version-check", "--root-user-action=ignore", *source]


def paths_to_drop(site: Path, drop: tuple[str, ...], spare: tuple[str, ...]) -> list[Path]:
    """Everything below `site` that a pattern of `drop` matches and none of `spare` does."""
    spared = {path for pattern in spare for path in site.glob(pattern)}
    return [path for pattern in drop for path in site.glob(pattern) if path not in spared]


def prune(site: Path, drop: tuple[str, ...], spare: tuple[str, ...]) -> None:
    """Remove what `paths_to_drop` names."""
    for path in paths_to_drop(site, drop, spare):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def compile_tree(folder: Path) -> None:
    """Byte code that is never checked against its source: a layer's time stamps may differ from the build's."""
    compileall.compile_dir(folder, quiet=2, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def write_entry(root: Path, name: str, module: str) -> None:
    """An executable `name` that becomes `python3 -m module`; -P keeps the working directory off the import path."""
    script = root / "bin" / name
    script.write_text(f'#!/bin/sh\nexec {root}/bin/python3 -P -m {module} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def add_user(etc: Path) -> None:
    """A name for the user the images run as: getpass.getuser(), which kopf and torch call, fails without one."""
    lines = {"passwd": f"neuron:x:{USER_ID}:{USER_ID}::/tmp:/usr/sbin/nologin\n", "group": f"neuron:x:{USER_ID}:\n"}
    for name, line in lines.items():
        known = (etc / name).read_text()
        if f":x:{USER_ID}:" not in known:
            (etc / name).write_text(known + line)


def install(plan: Plan) -> None:
    """Make the environment and fill it."""
    venv.EnvBuilder(system_site_packages=True, symlinks=True, with_pip=False).create(plan.root)
    site = plan.root / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    blocks = requirement_blocks(plan.requirements.read_text())
    kept = {name for name in plan.keep if in_base(name)}
    wanted = plan.root / "requirements.txt"
    wanted.write_text("".join(lines for name, lines in blocks.items() if name not in kept))
    command = [*pip_command(plan.wheels), "--no-deps", "--no-compile", "--require-hashes", "--only-binary=:all:"]
    subprocess.run([*command, f"--target={site}", f"--requirement={wanted}"], check=True)
    prune(site, (*ALWAYS_DROPPED, *plan.drop), plan.spare)
    compile_tree(site)
    # Our own source lies apart from the packages, as the next and smallest layer.
    (site / "neuron-serving.pth").write_text(f"{plan.root}/src\n")


def main() -> None:
    """`install.py packages …` fills the environment, `install.py source` compiles the copied source."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packages = commands.add_parser("packages")
    packages.add_argument("--requirements", type=Path, required=True)
    packages.add_argument("--wheels", type=Path, required=True)
    packages.add_argument("--keep", action="append", default=[], help="leave this package to the base, if it has it")
    packages.add_argument("--drop", action="append", default=[], help="glob below site-packages to remove")
    packages.add_argument("--spare", action="append", default=[], help="glob to spare from --drop")
    packages.add_argument("--entry", required=True, help="NAME=MODULE, the image's command")
    commands.add_parser("source")
    arguments = parser.parse_args()
    if arguments.command == "source":
        compile_tree(ROOT / "src")
        return
    keep, drop, spare = (tuple(arguments.keep), tuple(arguments.drop), tuple(arguments.spare))
    install(Plan(ROOT, arguments.requirements, arguments.wheels, keep, drop, spare))
    add_user(ETC)
    write_entry(ROOT, *arguments.entry.split("=", 1))


if __name__ == "__main__":
    main()
