"""Processes are found and ended by id and start time, never by name, and never a stranger."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import processes
from cluster.processes import Identity, Stat


def stat_line(pid: int, name: str, state: str, started: int) -> str:
    """The 52 fields of /proc/PID/stat, of which the start time is the 22nd."""
    rest = ["0"] * 18 + [str(started)] + ["0"] * 30
    return f"{pid} ({name}) {state} {' '.join(rest)}\n"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(stat_line(7, "etcd", "S", 1234), Stat(Identity(7, 1234), "S"), id="plain"),
        pytest.param(stat_line(8, "tmux: server", "R", 5), Stat(Identity(8, 5), "R"), id="space-in-name"),
        pytest.param(stat_line(9, "a) S 1 (b", "Z", 6), Stat(Identity(9, 6), "Z"), id="parentheses-in-name"),
    ],
)
def test_stat_is_parsed_whatever_the_program_is_called(line: str, expected: Stat) -> None:
    assert processes.parse_stat(line) == expected


@pytest.mark.parametrize(("state", "alive"), [("S", True), ("D", True), ("Z", False), ("X", False)])
def test_a_zombie_is_not_alive(state: str, alive: bool) -> None:
    assert Stat(Identity(1, 1), state).is_alive is alive


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Path]:
    """The record of a process that would sleep for a minute."""
    record = tmp_path / "records" / "sleeper"
    processes.start(record, tmp_path / "log", ["sleep", "60"], {})
    while processes.recorded(record) is None:
        os.sched_yield()
    yield record
    identity = processes.recorded(record)
    if identity:
        processes.stop(identity, grace_s=0)


def test_started_process_is_found_by_its_record_until_it_is_stopped(sleeper: Path) -> None:
    identity = processes.recorded(sleeper)
    assert identity is not None
    assert processes.stop(identity, grace_s=5)
    assert processes.recorded(sleeper) is None


def test_record_of_a_reused_process_id_is_nobody(sleeper: Path) -> None:
    identity = processes.recorded(sleeper)
    assert identity is not None
    sleeper.write_text(stat_line(identity.pid, "sleep", "S", identity.started_ticks - 1))
    assert processes.recorded(sleeper) is None
    sleeper.write_text(stat_line(identity.pid, "sleep", "S", identity.started_ticks))


def test_stop_leaves_a_stranger_with_the_same_id_alone(sleeper: Path) -> None:
    identity = processes.recorded(sleeper)
    assert identity is not None
    assert processes.stop(Identity(identity.pid, identity.started_ticks - 1), grace_s=0)
    assert processes.recorded(sleeper) == identity


@pytest.mark.parametrize("content", ["", "nonsense", "12 (sh) S"], ids=["empty", "words", "cut-short"])
def test_broken_record_is_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "record").write_text(content)
    assert processes.recorded(tmp_path / "record") is None


def test_process_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    record, log = tmp_path / "record", tmp_path / "log"
    processes.start(record, log, ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 60; done"], {})
    while "ready" not in (log.read_text() if log.exists() else ""):
        os.sched_yield()
    identity = processes.recorded(record)
    assert identity is not None
    assert processes.stop(identity, grace_s=0.1)
    assert processes.recorded(record) is None


def test_process_gets_the_given_environment_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example")
    log = tmp_path / "log"
    processes.start(tmp_path / "record", log, ["sh", "-c", "echo proxy=$HTTPS_PROXY own=$OWN done"], {"OWN": "1"})
    while "done" not in (log.read_text() if log.exists() else ""):
        os.sched_yield()
    assert log.read_text() == "proxy= own=1 done\n"


def test_processes_of_a_mount_namespace_are_found() -> None:
    inode = Path("/proc/self/ns/mnt").stat().st_ino
    assert os.getpid() in processes.in_mount_namespace(inode)
    assert processes.in_mount_namespace(1) == ()


def test_stop_of_a_gone_process_is_done_already() -> None:
    child = subprocess.Popen(["true"])
    stat = processes.read_stat(child.pid)
    child.wait()
    assert stat is not None
    assert processes.stop(stat.identity, grace_s=1)
