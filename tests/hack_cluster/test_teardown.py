"""What down looks for: mounts below the state, containers as containerd keeps them, and nothing of anybody else's."""

from pathlib import Path

import pytest

from cluster import cgroups, mounts, teardown
from cluster.settings import Settings

TABLE = """\
proc /proc proc rw 0 0
/dev/vda /state/namespaces ext4 rw 0 0
nsfs /state/namespaces/n1 nsfs rw 0 0
/dev/vda /state-of-another/x ext4 rw 0 0
tmpfs /state/with\\040space tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("/state", ("/state/namespaces", "/state/namespaces/n1", "/state/with space")),
        ("/state/namespaces/n1", ("/state/namespaces/n1",)),
        ("/elsewhere", ()),
    ],
)
def test_mounts_below_a_folder_are_found_and_no_others(folder: str, expected: tuple[str, ...]) -> None:
    assert mounts.mounts_below(TABLE, Path(folder)) == expected


def test_mounted_is_what_the_kernel_lists(tmp_path: Path) -> None:
    assert mounts.is_mounted(Path("/proc"))
    assert not mounts.is_mounted(tmp_path)


def test_containers_are_known_from_the_disk_of_a_dead_containerd(tmp_path: Path) -> None:
    for node, identifier in (("n1", "aaa"), ("n2", "bbb")):
        (tmp_path / node / "containerd-state/io.containerd.runtime.v2.task/k8s.io" / identifier).mkdir(parents=True)
    settings = Settings(cache=tmp_path / "cache", state=tmp_path)
    assert teardown.container_ids(settings) == {"aaa", "bbb"}
    assert teardown.container_ids(Settings(cache=tmp_path, state=tmp_path / "none")) == frozenset()


def test_only_the_groups_of_our_containers_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    ours, nested, theirs = (tmp_path / "k8s.io" / name for name in ("ours", "ours/inner", "theirs"))
    nested.mkdir(parents=True)
    theirs.mkdir()
    assert cgroups.groups(["ours"]) == (ours,)
    cgroups.remove(["ours"])
    assert not ours.exists()
    assert theirs.exists()
