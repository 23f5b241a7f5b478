"""What is cut from the local base."""

from pathlib import Path

from images.rootfs import TRIMMED, trim


def test_trim_removes_documentation_and_lists_but_nothing_else(tmp_path: Path) -> None:
    kept = ["usr/bin/python3", "usr/lib/python3.11/json/__init__.py", "etc/ssl/certs/ca-certificates.crt"]
    gone = ["usr/share/doc/python3/copyright", "usr/share/man/man1/x.1", "var/lib/apt/lists/list", "dev/null"]
    for name in (*kept, *gone):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    trim(tmp_path)
    assert [name for name in kept if not (tmp_path / name).exists()] == []
    assert [name for name in gone if (tmp_path / name).exists()] == []


def test_trim_patterns_stay_inside_the_root() -> None:
    assert [pattern for pattern in TRIMMED if pattern.startswith("/") or ".." in pattern] == []
