"""What the distribution provides: container runtime, network plugins, firewall and build tools.

`up` and `build` install what is missing where they may (root on Debian), and otherwise name the exact command.
"""

import dataclasses
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from cluster.commands import attempt, tail
from cluster.errors import ClusterError
from cluster.progress import step


@dataclasses.dataclass(frozen=True)
class Need:
    """A Debian package, and the program or file by which we see that it is there."""

    package: str
    evidence: str

    @property
    def is_met(self) -> bool:
        return Path(self.evidence).exists() if self.evidence.startswith("/") else bool(shutil.which(self.evidence))


FOR_CLUSTER = (
    Need("containerd", "containerd"),
    Need("runc", "runc"),
    Need("containernetworking-plugins", "/usr/lib/cni/bridge"),
    Need("iptables", "iptables"),
    Need("nftables", "nft"),  # takes away the empty tables that iptables leaves
    Need("iproute2", "ip"),
    Need("conntrack", "conntrack"),
    Need("mount", "mount"),
    Need("util-linux", "nsenter"),
    Need("gcc", "gcc"),
    Need("libc6-dev", "/usr/include/stdlib.h"),
    Need("curl", "curl"),  # the demo asks the model with it
)
FOR_IMAGES = (Need("buildah", "buildah"),)
FOR_INTEGRATION = (
    Need("chromium", "chromium"),  # the page at / is tried in it
    Need("wrk", "wrk"),  # the bench command's figures are held against it
    Need("curl", "curl"),  # and the commands that the page shows
)


def missing_packages(needs: Iterable[Need]) -> tuple[str, ...]:
    return tuple(need.package for need in needs if not need.is_met)


def ensure(needs: Iterable[Need]) -> None:
    packages = missing_packages(needs)
    if not packages:
        return
    command = ("apt-get", "install", "-y", "--no-install-recommends", *packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise ClusterError(
            f"this machine lacks {', '.join(packages)}",
            f"as root on Debian: {' '.join(command)}; elsewhere, the same packages of your distribution",
        )
    with step(f"installing {' '.join(packages)}"):
        _apt("apt-get", "update", "-q")
        _apt(*command)


def _apt(*command: str) -> None:
    done = attempt(*command, environment={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if done.returncode != 0:
        raise ClusterError(
            f"`{' '.join(command)}` failed:\n{tail(done.stdout + done.stderr, 10)}",
            "run it by hand, then run the same command again",
        )
