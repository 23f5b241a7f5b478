"""Programs are built once, one after the other, and a killed build goes on; Go itself is played by a script."""

from pathlib import Path

import pytest

from cluster import binaries
from cluster.binaries import Binary
from cluster.errors import ClusterError
from cluster.settings import SOURCE, Settings

GO_MOD = "module x\n\ngo 1.26.0\n\nrequire (\n\thelm.sh/helm/v3 v3.22.0 // indirect\n\tk8s.io/kubernetes v1.36.3\n)\n"
# Writes what it was asked to build, and fails for one package if told to.
FAKE_GO = """#!/bin/sh
if [ "$1" = version ]; then echo "go version go1.99.0 linux/amd64"; exit; fi
while [ "$1" != -o ]; do shift; done
echo "$3" >> "$GO_CALLS"
echo partial > "$2"
[ "$3" = "$GO_FAILS" ] && { echo "no space left on device" >&2; exit 1; }
echo "program $3" > "$2"
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    go = tmp_path / "tools" / "go"
    go.parent.mkdir()
    go.write_text(FAKE_GO)
    go.chmod(0o755)
    monkeypatch.setenv("PATH", f"{go.parent}:/usr/bin:/bin")
    monkeypatch.setenv("GO_CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("GO_FAILS", "")
    return Settings(cache=tmp_path / "cache", state=tmp_path / "state")


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().split()


def test_everything_is_built_once(settings: Settings, tmp_path: Path) -> None:
    folder = binaries.build(settings)
    visible = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert visible == {binary.name for binary in binaries.BINARIES}
    assert binaries.missing(settings) == ()
    assert binaries.build(settings) == folder
    assert calls(tmp_path) == [binary.package for binary in binaries.BINARIES]


def test_for_somebody_elses_cluster_only_what_speaks_to_it_is_built(settings: Settings, tmp_path: Path) -> None:
    binaries.build(settings, binaries.CLIENTS)
    assert {call.rpartition("/")[2] for call in calls(tmp_path)} == {"kubectl", "helm"}
    assert binaries.missing(settings, binaries.CLIENTS) == ()
    assert binaries.missing(settings)


def test_failed_build_names_the_package_and_goes_on_from_there(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = binaries.BINARIES[2]
    monkeypatch.setenv("GO_FAILS", failing.package)
    with pytest.raises(ClusterError, match="no space left on device") as raised:
        binaries.build(settings)
    assert failing.package in raised.value.what
    assert failing in binaries.missing(settings), "a partial program is not a program"
    monkeypatch.setenv("GO_FAILS", "")
    folder = binaries.build(settings)
    assert (folder / failing.name).read_text() == f"program {failing.package}\n"
    assert [calls(tmp_path).count(binary.package) for binary in binaries.BINARIES[:4]] == [1, 1, 2, 1]


def test_version_of_a_module_is_read_from_go_mod() -> None:
    assert binaries.module_version(GO_MOD, "k8s.io/kubernetes") == "v1.36.3"
    with pytest.raises(ClusterError, match=r"does not require example\.com/x"):
        binaries.module_version(GO_MOD, "example.com/x")


def test_linker_flags_carry_the_version() -> None:
    flags = binaries.linker_flags(GO_MOD)
    for part in ("gitVersion=v1.36.3", "gitMajor=1", "gitMinor=36", "version.version=v3.22.0"):
        assert part in flags


def test_helm_is_told_which_kubernetes_it_is_for() -> None:
    helm = next(binary for binary in binaries.BINARIES if binary.name == "helm")

    flags = binaries.own_flags(helm, GO_MOD).split(" -X ")

    assert [flag.rsplit(".", 1)[1] for flag in flags] == ["k8sVersionMajor=1", "k8sVersionMinor=36"]


def test_a_program_built_without_its_flags_is_built_again_and_no_other(settings: Settings, tmp_path: Path) -> None:
    folder = binaries.build(settings)
    (folder / ".helm.flags").unlink()

    assert [binary.name for binary in binaries.missing(settings)] == ["helm"]
    binaries.build(settings)
    assert binaries.missing(settings) == ()
    assert len(calls(tmp_path)) == len(binaries.BINARIES) + 1


@pytest.mark.parametrize(
    ("go_mod", "go_sum"),
    [(GO_MOD.replace("v1.36.3", "v1.36.4"), "sum"), (GO_MOD, "other sum")],
    ids=["other-version", "other-content"],
)
def test_other_modules_get_another_folder(go_mod: str, go_sum: str) -> None:
    assert binaries.cache_key(GO_MOD, "sum") == binaries.cache_key(GO_MOD, "sum")
    assert binaries.cache_key(go_mod, go_sum) != binaries.cache_key(GO_MOD, "sum")


def test_a_program_of_ours_is_built_again_when_its_sources_change_and_no_other(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Binary("ours", "example.com/ours", module=tmp_path / "ours")
    ours.module.mkdir()
    (ours.module / "main.go").write_text("package main")
    (ours.module / "README.md").write_text("not compiled")
    monkeypatch.setattr(binaries, "BINARIES", (*binaries.BINARIES[:2], ours))
    binaries.build(settings)
    (ours.module / "README.md").write_text("still not")
    assert binaries.missing(settings) == ()

    (ours.module / "main.go").write_text("package main // changed")

    assert binaries.missing(settings) == (ours,)
    binaries.build(settings)
    assert binaries.missing(settings) == ()
    assert [calls(tmp_path).count(binary.package) for binary in binaries.BINARIES] == [1, 1, 2]


def test_every_program_is_a_tool_of_the_real_go_mod_or_a_module_of_ours() -> None:
    text = (SOURCE / "go.mod").read_text()
    tools = set(text.split("tool (")[1].split(")")[0].split())
    assert tools == {binary.package for binary in binaries.BINARIES if binary.module == SOURCE}
    own = [binary for binary in binaries.BINARIES if binary.module != SOURCE]
    assert [(binary.module / "go.mod").read_text().split()[1] for binary in own] == [binary.package for binary in own]
