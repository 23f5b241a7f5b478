"""Where the control plane's programs are, and ports for them."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FIRST_PORT, PORTS = 20_000, 10_000


def binaries() -> Path:
    """The folder of etcd, kube-apiserver, kwok and kubectl: NEURON_SERVING_BIN, else the cluster tool's cache."""
    given = os.environ.get("NEURON_SERVING_BIN")
    if given:
        return Path(given)
    asked = [sys.executable, "-m", "cluster", "bin"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "hack")}
    return Path(subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout.strip())


def free_port() -> int:
    """For a server that can't be asked which one it took. Below those that the kernel hands out itself, which could be
    the port of somebody's connection by the time the server has started."""
    for _ in range(100):
        port = FIRST_PORT + secrets.randbelow(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError(f"of a hundred ports from {FIRST_PORT} to {FIRST_PORT + PORTS} none is free")
