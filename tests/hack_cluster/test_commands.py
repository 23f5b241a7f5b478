"""The command line without a cluster: every mistake ends with what, where and what next, and exit code 1."""

import subprocess
import sys
from pathlib import Path

import pytest

from cluster import commands
from cluster.errors import ClusterError
from cluster.settings import HACK


def tool(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cluster", *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(HACK),
            "NEURON_SERVING_CACHE": str(folder / "cache"),
            "NEURON_SERVING_STATE": str(folder / "state"),
            **environment,
        },
    )


@pytest.mark.parametrize(
    ("arguments", "what", "next_step"),
    [
        pytest.param(("bin",), "not built yet: kube-apiserver", "cluster build", id="bin-before-build"),
        pytest.param(("kubeconfig",), "there is no", "cluster up", id="kubeconfig-before-up"),
        pytest.param(("logs", "etcd"), "no log of etcd", "the cluster is down", id="logs-before-up"),
        pytest.param(("stop", "docker"), "no component is called docker", "n1-device-plugin", id="unknown-component"),
        pytest.param(("stop", "etcd"), "the cluster is down", "cluster up", id="stop-before-up"),
    ],
)
def test_mistake_is_told_with_what_to_do_next(
    arguments: tuple[str, ...], what: str, next_step: str, tmp_path: Path
) -> None:
    done = tool(tmp_path, *arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    first, _, last = done.stderr.partition("\n  next: ")
    assert what in first
    assert next_step in last
    assert "Traceback" not in done.stderr


def test_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(ClusterError, match=r"`sh -c .*` failed with 3: no such chain"):
        commands.run("sh", "-c", "echo no such chain >&2; exit 3")


def test_status_of_no_cluster_is_one_word_for_programs(tmp_path: Path) -> None:
    assert tool(tmp_path, "status", "--quiet").stdout == "down\n"
    assert "make cluster-up" in tool(tmp_path, "status").stdout


@pytest.mark.parametrize("command", ["down", "load"])
def test_a_cluster_of_somebody_else_is_left_alone(command: str, tmp_path: Path) -> None:
    arguments = (command, "image") if command == "load" else (command,)
    done = tool(tmp_path, *arguments, CLUSTER="current")
    assert done.returncode == 1
    assert "next: " in done.stderr
