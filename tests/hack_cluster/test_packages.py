"""Missing Debian packages are installed where that may be, and named with the exact command where not."""

import os
from pathlib import Path

import pytest

from cluster import packages
from cluster.errors import ClusterError
from cluster.packages import Need

MISSING = Need("runc", "no-such-program-anywhere")
# Writes down how it was called.
FAKE_APT = '#!/bin/sh\necho "$@" >> "$APT_CALLS"\nexit "$APT_CODE"\n'


@pytest.fixture
def apt_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    apt = tmp_path / "apt-get"
    apt.write_text(FAKE_APT)
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("APT_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("APT_CODE", "0")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    return tmp_path / "calls"


@pytest.mark.parametrize(
    ("need", "expected"),
    [
        pytest.param(Need("sh", "sh"), True, id="program"),
        pytest.param(Need("sh", "/bin/sh"), True, id="file"),
        pytest.param(MISSING, False, id="no-program"),
        pytest.param(Need("x", "/no/such/file"), False, id="no-file"),
    ],
)
def test_need_is_met_by_its_evidence(need: Need, expected: bool) -> None:
    assert need.is_met is expected


def test_nothing_is_done_when_nothing_is_missing(apt_calls: Path) -> None:
    packages.ensure([Need("sh", "sh")])
    assert not apt_calls.exists()


def test_root_on_debian_gets_what_is_missing_and_no_more(apt_calls: Path) -> None:
    packages.ensure([Need("sh", "sh"), MISSING])
    assert apt_calls.read_text().splitlines() == ["update -q", "install -y --no-install-recommends runc"]


def test_other_users_are_told_the_command(apt_calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="lacks runc") as raised:
        packages.ensure([MISSING])
    assert "apt-get install -y --no-install-recommends runc" in raised.value.next_step
    assert not apt_calls.exists()


def test_failing_apt_is_told_with_its_last_words(apt_calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APT_CODE", "100")
    with pytest.raises(ClusterError, match="apt-get update"):
        packages.ensure([MISSING])
