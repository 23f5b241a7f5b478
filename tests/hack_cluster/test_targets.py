"""CLUSTER picks the Kubernetes; somebody else's is used only after they said so by name."""

from pathlib import Path

import pytest

from cluster import targets
from cluster.errors import ClusterError
from cluster.settings import Settings, from_environment

# Stands in for kubectl: one context, called theirs.
FAKE_KUBECTL = '#!/bin/sh\n[ "$2" = current-context ] && echo theirs || echo "pinned: $*"\n'


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(cache=tmp_path / "cache", state=tmp_path / "state")


@pytest.fixture
def kubectl(tmp_path: Path) -> Path:
    program = tmp_path / "kubectl"
    program.write_text(FAKE_KUBECTL)
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(("value", "expected"), [("", "local"), ("kind", "kind"), ("current", "current")])
def test_target_is_chosen_by_the_environment(value: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", value)
    assert targets.chosen() == expected


def test_unknown_target_is_refused_with_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLUSTER", "minikube")
    with pytest.raises(ClusterError, match="CLUSTER=minikube is not known") as raised:
        targets.chosen()
    assert "local, kind, current" in raised.value.next_step


def test_current_context_is_not_used_without_a_word(
    settings: Settings, kubectl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER", "current")
    monkeypatch.setenv("CLUSTER_CONFIRM", "another")
    with pytest.raises(ClusterError, match="the context theirs") as raised:
        targets.use_current(settings, kubectl)
    assert "CLUSTER_CONFIRM=theirs" in raised.value.next_step
    assert not targets.kubeconfig(settings).exists()


def test_cluster_of_somebody_else_counts_as_up_so_that_nobody_takes_it_down(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER", "current")
    assert targets.word(settings) == "up"


def test_confirmed_context_is_pinned_in_a_file_of_its_own(
    settings: Settings, kubectl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLUSTER", "current")
    monkeypatch.setenv("CLUSTER_CONFIRM", "theirs")
    targets.use_current(settings, kubectl)
    assert "--minify --flatten --context=theirs" in targets.kubeconfig(settings).read_text()
    assert targets.kubeconfig(settings).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("environment", "cache", "state"),
    [
        pytest.param({"HOME": "/h"}, "/h/.cache/neuron-serving", "/var/lib/neuron-serving/cluster", id="defaults"),
        pytest.param(
            {"HOME": "/h", "NEURON_SERVING_CACHE": "/c", "NEURON_SERVING_STATE": "/s"}, "/c", "/s", id="both-set"
        ),
    ],
)
def test_folders_follow_the_environment(environment: dict[str, str], cache: str, state: str) -> None:
    assert from_environment(environment) == Settings(cache=Path(cache), state=Path(state))
