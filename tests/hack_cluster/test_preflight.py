"""Every way in which a machine can be unfit is named, with what to do about it; a fit one passes."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cluster import preflight
from cluster.errors import ClusterError
from cluster.listeners import Listener
from cluster.preflight import Machine, Route, Space
from cluster.settings import Settings

GIB = 1 << 30
FIT = Machine(
    spaces=(Space(Path("/var/lib/x"), 50 * GIB, 4 * GIB),),
    available_memory_bytes=8 * GIB,
    listeners=(Listener("127.0.0.1", 2379, "etcd (process 5)"), Listener("0.0.0.0", 22, "sshd (process 6)")),
    routes=(Route("192.0.2.0/24", "eth0"), Route("10.244.0.0/24", "neuron-n1")),
    file_systems=frozenset({"ext4", "overlay"}),
    has_memory_cgroup=True,
    has_foreign_cluster=False,
    is_ours=False,
)


def test_fit_machine_has_no_problems() -> None:
    assert preflight.problems(FIT) == ()


@pytest.mark.parametrize(
    ("change", "what", "next_step"),
    [
        pytest.param(
            {"spaces": (Space(Path("/small"), GIB // 2, 4 * GIB),)},
            "/small has 0.5 GiB free and needs 4",
            "NEURON_SERVING_CACHE",
            id="disk",
        ),
        pytest.param({"available_memory_bytes": GIB}, "1.0 GiB of memory", "end other programs", id="memory"),
        pytest.param({"file_systems": frozenset({"ext4"})}, "no overlay file system", "modprobe overlay", id="overlay"),
        pytest.param({"has_memory_cgroup": False}, "no memory control group", "mount the control groups", id="cgroups"),
        pytest.param(
            {"listeners": (Listener("0.0.0.0", 6443, "k3s (process 9)"),)},
            "port 6443 (kube-apiserver) is taken on every address by k3s (process 9)",
            "end k3s (process 9)",
            id="port",
        ),
        pytest.param(
            {"listeners": (Listener("::", 10250, "kubelet (process 3)"),)},
            "port 10250 (kubelet)",
            "kubelet (process 3)",
            id="port-version-six",
        ),
        pytest.param(
            {"routes": (Route("10.0.0.0/8", "tun0"),)}, "10.0.0.0/8 on tun0 overlaps", "take tun0 down", id="vpn"
        ),
        pytest.param({"has_foreign_cluster": True}, "KUBE-SERVICES", "CLUSTER=current", id="other-kubernetes"),
    ],
)
def test_problem_says_what_and_what_next(change: dict[str, Any], what: str, next_step: str) -> None:
    (problem,) = preflight.problems(dataclasses.replace(FIT, **change))
    assert what in problem.what
    assert next_step in problem.next_step


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"listeners": (Listener("0.0.0.0", 6443, "kube-apiserver (process 9)"),)}, id="ports"),
        pytest.param({"has_foreign_cluster": True}, id="rules"),
        pytest.param({"available_memory_bytes": GIB}, id="memory"),
    ],
)
def test_what_a_half_dead_cluster_of_ours_holds_is_no_problem(change: dict[str, Any]) -> None:
    assert preflight.problems(dataclasses.replace(FIT, is_ours=True, **change)) == ()


def test_all_problems_are_told_at_once() -> None:
    unfit = dataclasses.replace(FIT, has_memory_cgroup=False, available_memory_bytes=0, has_foreign_cluster=True)
    assert len(preflight.problems(unfit)) == 3


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("sys.platform", "darwin", "runs on Linux, and this is darwin"),
        ("os.geteuid", lambda: 1000, "this is user 1000"),
    ],
    ids=["system", "user"],
)
def test_check_refuses_before_it_looks_any_further(
    attribute: str, value: object, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attribute, value)
    with pytest.raises(ClusterError, match=expected) as raised:
        preflight.check(Settings(cache=tmp_path, state=tmp_path / "state"))
    assert "CLUSTER=kind" in raised.value.next_step
