"""What every story starts from: the product installed as the demo installs it, tiny bundles, a namespace of its own."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo import installation, store
from demo.kube import CommandError, Kube
from e2e import bundles
from e2e.summary import SUMMARY, Summary
from e2e.world import WAIT_S, World


def pytest_configure(config: pytest.Config) -> None:
    config.stash[SUMMARY] = Summary()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for title, rows in config.stash[SUMMARY].tables.items():
        terminalreporter.section(title)
        for row, measured in rows.items():
            terminalreporter.write_line(f"{row:64} {measured}")


@pytest.fixture(scope="session")
def summary(pytestconfig: pytest.Config) -> Summary:
    return pytestconfig.stash[SUMMARY]


@pytest.fixture(scope="session")
def kube() -> Iterator[Kube]:
    """The running product. A cluster that was up before stays up; one started here is taken down again."""
    was_up = installation.ask("cluster", "status", "--quiet") == "up"
    installation.tool("cluster", "up")
    installation.load_images()
    cluster = installation.connect()
    if was_up:
        _require_free_cores(cluster)
    store.start(cluster)
    installation.install_chart(cluster)
    yield cluster
    if not was_up:
        installation.tool("cluster", "down")


def _require_free_cores(cluster: Kube) -> None:
    """The stories count cores, so nobody else may hold any; somebody's models are not ours to delete."""
    try:
        models = cluster.kubectl("get", "neuronmodels", "-A", "-o", "name").split()
    except CommandError:
        return  # the API server does not know the kind yet
    if models:
        pytest.exit(f"the running cluster serves {', '.join(models)}: delete them or run `make demo-down` first", 1)


@pytest.fixture(scope="session")
def uploaded(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Bundles in the artifact store by name: a tiny model, one with a wrong checksum, one that is no program."""
    built = bundles.build(tmp_path_factory.mktemp("bundles"))
    store.upload(kube, built)
    return built


@pytest.fixture
def world(kube: Kube, uploaded: dict[str, Path]) -> Iterator[World]:
    """A namespace of the story's own."""
    with opened_world(kube) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def shared_world(kube: Kube, uploaded: dict[str, Path]) -> Iterator[World]:
    """A namespace for the stories of one file."""
    with opened_world(kube) as fresh:
        yield fresh


@contextmanager
def opened_world(kube: Kube) -> Iterator[World]:
    """A namespace with the store's credentials; its models and their pods are gone at the end."""
    namespace = f"story-{uuid.uuid4().hex[:8]}"
    kube.kubectl("create", "namespace", namespace)
    secret = kube.get("secret", "artifact-store")
    kube.apply({**secret, "metadata": {"name": "artifact-store", "namespace": namespace}})
    yield World(kube=kube, namespace=namespace)
    # The next story needs the cores, not the name: pods get no time to drain, the rest goes in the background.
    kube.kubectl("delete", "neuronmodels", "--all", "-n", namespace, f"--timeout={WAIT_S}s")
    kube.kubectl("wait", "replicasets", "--all", "-n", namespace, "--for=delete", f"--timeout={WAIT_S}s")
    kube.kubectl("delete", "pods", "--all", "-n", namespace, "--grace-period=1", f"--timeout={WAIT_S}s")
    kube.kubectl("delete", "namespace", namespace, "--wait=false")
