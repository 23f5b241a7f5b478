"""Pinned requirements: every line hashed, no registry's address, one version of a package wherever ours runs."""

import re
from pathlib import Path

import pytest

LOCKS = sorted((Path(__file__).parents[2] / "requirements").glob("*.txt"))
PIN = re.compile(r"^([a-z0-9._-]+)(?:\[[a-z,]+\])?==([^\s;\\]+)", re.MULTILINE)


def test_there_is_a_lock_for_every_use() -> None:
    assert [lock.stem for lock in LOCKS] == ["dev", "operator", "peers", "runtime"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_lock_holds_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text()
    pins = PIN.findall(text)
    assert pins
    assert text.count("==") <= text.count("--hash=sha256:")
    assert "://" not in text


# The peers of the benchmark live in an environment of their own, because they do not fit into ours.
@pytest.mark.parametrize("lock", [lock for lock in LOCKS if lock.stem != "peers"], ids=lambda lock: lock.stem)
def test_lock_agrees_with_the_development_lock(lock: Path) -> None:
    developed = dict(PIN.findall((lock.parent / "dev.txt").read_text()))
    differing = {name: version for name, version in PIN.findall(lock.read_text()) if developed.get(name) != version}
    assert differing == {}
