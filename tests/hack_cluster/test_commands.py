"""The command line without a cluster: every mistake ends with what, where and what next, and exit code 1."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster import commands, packages
from cluster.__main__ import main
from cluster.errors import ClusterError

Answer = tuple[int, str, str]
Tool = Callable[..., Answer]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Runs a command of the tool on a machine without a cluster: its exit code and what it printed."""

    def run(*arguments: str) -> Answer:
        monkeypatch.setattr(sys, "argv", ["cluster", *arguments])
        code = main()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("NEURON_SERVING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NEURON_SERVING_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("CLUSTER", raising=False)
    return run


@pytest.mark.parametrize(
    ("arguments", "what", "next_step"),
    [
        pytest.param(("bin",), "not built yet: kube-apiserver", "make cluster-up", id="bin-before-build"),
        pytest.param(("kubeconfig",), "there is no", "cluster up", id="kubeconfig-before-up"),
        pytest.param(("logs", "etcd"), "no log of etcd", "the cluster is down", id="logs-before-up"),
        pytest.param(("stop", "docker"), "no component is called docker", "n1-device-plugin", id="unknown-component"),
        pytest.param(("stop", "etcd"), "the cluster is down", "cluster up", id="stop-before-up"),
    ],
)
def test_mistake_is_told_with_what_to_do_next(
    arguments: tuple[str, ...], what: str, next_step: str, tool: Tool
) -> None:
    code, out, err = tool(*arguments)
    assert (code, out) == (1, "")
    first, _, last = err.partition("\n  next: ")
    assert what in first
    assert next_step in last


def test_build_asks_for_what_the_integration_tests_need(tool: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "FOR_INTEGRATION", (packages.Need("chromium", "no-such-program-anywhere"),))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    code, _, err = tool("build")
    assert code == 1
    assert "this machine lacks chromium" in err
    assert "apt-get install -y --no-install-recommends chromium" in err


def test_program_that_fails_is_told_with_its_last_words() -> None:
    with pytest.raises(ClusterError, match=r"`sh -c .*` failed with 3: no such chain"):
        commands.run("sh", "-c", "echo no such chain >&2; exit 3")


def test_status_of_no_cluster_is_one_word_for_programs(tool: Tool) -> None:
    assert tool("status", "--quiet") == (0, "down\n", "")
    assert "make cluster-up" in tool("status")[1]


@pytest.mark.parametrize("arguments", [("down",), ("load", "image")], ids=lambda arguments: arguments[0])
def test_a_cluster_of_somebody_else_is_left_alone(
    arguments: tuple[str, ...], tool: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER", "current")
    code, _, err = tool(*arguments)
    assert code == 1
    assert "next: " in err
