"""A network namespace in which the cluster tool can be raised, broken and taken down beside a cluster in use.

Links, routes, firewall and ports are the namespace's own; state and lock lie in a folder of the test. What is shared
with the machine (mounts, control groups, processes, a few kernel settings) is told apart by that folder.
"""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cluster import bringup, nodes, packages, processes
from cluster.components import record_path
from cluster.settings import Settings, from_environment

ROOT = Path(__file__).parents[2]
# Whatever of the machine a Kubernetes is known to write to, beside its own folders.
WATCHED_PATHS = (
    *nodes.PRIVATE_PATHS,
    "/run/xtables.lock",
    "/var/run/kubernetes",
    "/usr/libexec/kubernetes",
    "/opt/containerd",
    "/opt/cni",
    "/etc/cni",
    "/etc/kubernetes",
    "/var/log/pods",
)
_VOLATILE_SYSCTLS = re.compile(r"nf_conntrack_count|\.mc_forwarding|net\.ipv4\.route\.flush|tcp_mem|udp_mem|rds")


@dataclasses.dataclass(frozen=True)
class Sandbox:
    settings: Settings
    holder: subprocess.Popen[bytes]

    def command(self, *arguments: str) -> list[str]:
        return ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net", "--", *arguments]

    def environment(self, **extra: str) -> dict[str, str]:
        own = {
            "PYTHONPATH": str(ROOT / "hack"),
            "NEURON_SERVING_STATE": str(self.settings.state),
            "NEURON_SERVING_CACHE": str(self.settings.cache),
        }
        return {**os.environ, **own, **extra}

    def run(self, *arguments: str) -> str:
        """What a program of the machine prints in here."""
        return subprocess.run(self.command(*arguments), check=True, capture_output=True, text=True).stdout

    def tool(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        command = self.command(sys.executable, "-m", "cluster", *arguments)
        return subprocess.run(
            command, check=False, capture_output=True, text=True, env=self.environment(**extra), cwd=ROOT
        )

    def must(self, *arguments: str) -> str:
        """The tool's output on success; its message otherwise fails the test."""
        done = self.tool(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        command = self.command(
            f"{self.must('bin')}/kubectl", f"--kubeconfig={self.settings.admin_kubeconfig}", *arguments
        )
        done = subprocess.run(command, check=False, capture_output=True, text=True, input=given)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def apply(self, *items: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))

    def pid(self, component: str) -> int:
        identity = processes.recorded(record_path(self.settings, component))
        assert identity is not None, f"{component} is not running"
        return identity.pid

    def kill(self, *components: str) -> None:
        for component in components:
            os.kill(self.pid(component), signal.SIGKILL)

    def component_names(self) -> tuple[str, ...]:
        return tuple(one.name for one in bringup.plan(self.settings, Path("/")))

    def processes(self) -> dict[int, str]:
        """Everything that runs in this network namespace, but for what holds it open."""
        inode = Path(f"/proc/{self.holder.pid}/ns/net").stat().st_ino
        found = {}
        for pid in processes.all_pids():
            try:
                if pid != self.holder.pid and Path(f"/proc/{pid}/ns/net").stat().st_ino == inode:
                    found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
        return found

    def snapshot(self) -> dict[str, Any]:
        """The machine as the cluster could change it."""
        sysctls = self.run("sysctl", "-a", "--pattern", r"^(net\.|vm\.|kernel\.panic|kernel\.keys\.root)").splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        return {
            "firewall": [_rules(self.run(program)) for program in ("iptables-save", "ip6tables-save")],
            "links": self.run("ip", "-brief", "link"),
            "addresses": self.run("ip", "-brief", "address"),
            "routes": self.run("ip", "route", "show", "table", "all").splitlines(),
            "rules": self.run("ip", "rule"),
            "sysctls": [line for line in sysctls if not _VOLATILE_SYSCTLS.search(line)],
            "mounts": [line for line in mounts if str(self.settings.state) in line],
            "paths": [path for path in WATCHED_PATHS if Path(path).exists()],
            "processes": self.processes(),
            "state": self.settings.state.exists(),
        }


def _rules(saved: str) -> list[str]:
    return [re.sub(r" \[\d+:\d+\]", "", line) for line in saved.splitlines() if not line.startswith("#")]


def open_sandbox(folder: Path) -> Sandbox:
    """Programs and the emulated nodes' packages come from the developer's cache; the rest is the test's own."""
    # Nothing can be installed from a namespace without a way out.
    packages.ensure(packages.FOR_CLUSTER)
    shared = from_environment(os.environ)
    settings = Settings(cache=folder / "cache", state=folder / "cluster")
    settings.cache.mkdir(parents=True)
    for path in (shared.cache / "bin", shared.site_packages):
        path.mkdir(parents=True, exist_ok=True)
        (settings.cache / path.name).symlink_to(path)
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    sandbox = Sandbox(settings, holder)
    while Path(f"/proc/{holder.pid}/comm").read_text().strip() != "sleep":
        os.sched_yield()
    sandbox.run("ip", "link", "set", "lo", "up")
    # A new namespace copies the machine's value, which a cluster in use has switched on.
    sandbox.run("sysctl", "-w", "net.ipv4.ip_forward=0")
    return sandbox
