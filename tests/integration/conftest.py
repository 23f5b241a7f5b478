"""Fixtures of the integration tests: a real API server, one with the controllers behind it, and the operator."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from integration.api_client import Api
from local_control_plane import ROOT, ControlPlane, OperatorProcess

CRD = ROOT / "crds" / "neuronmodels.neuron-serving.dev.yaml"


def run_control_plane(folder: Path) -> Iterator[ControlPlane]:
    control_plane = ControlPlane(folder)
    try:
        control_plane.start()
        yield control_plane
    finally:
        control_plane.stop()


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver, nothing installed; one for all tests, so each uses a namespace of its own."""
    yield from run_control_plane(tmp_path_factory.mktemp("control-plane"))


@pytest.fixture(scope="session")
def controlled_api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Another one, with the controller manager: Deployments get pods, and owners take their children with them."""
    for control_plane in run_control_plane(tmp_path_factory.mktemp("controlled")):
        control_plane.start_controller_manager()
        yield control_plane


def install_crd(control_plane: ControlPlane) -> None:
    control_plane.kubectl("apply", "--server-side", "--filename", str(CRD))
    name = yaml.safe_load(CRD.read_text())["metadata"]["name"]
    control_plane.kubectl("wait", "--for=condition=Established", f"customresourcedefinition/{name}", "--timeout=120s")


def run_operator(control_plane: ControlPlane) -> Iterator[OperatorProcess]:
    install_crd(control_plane)
    process = OperatorProcess(control_plane.operator_kubeconfig, control_plane.folder / "operator.log")
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def operator(api_server: ControlPlane) -> Iterator[OperatorProcess]:
    """The operator on the bare API server; whoever stops it starts it again.

    It ends with its module: others write by hand on the same API server what it would correct.
    """
    yield from run_operator(api_server)


@pytest.fixture(scope="module")
def controlled_operator(controlled_api_server: ControlPlane) -> Iterator[OperatorProcess]:
    yield from run_operator(controlled_api_server)


def _api(control_plane: ControlPlane) -> Iterator[Api]:
    api = Api(control_plane.kubeconfig, f"test-{uuid.uuid4().hex[:8]}")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": api.namespace}}
    api.create("namespaces", namespace, is_namespaced=False)
    yield api
    # One that waits for cores makes the operator ask for pods, also in the tests of others on the same server.
    for body in api.every("neuronmodels") if api.serves("neuronmodels") else ():
        api.delete("neuronmodels", body["metadata"]["name"])
    api.close()


@pytest.fixture
def api(api_server: ControlPlane) -> Iterator[Api]:
    """A client with a fresh namespace on the bare API server."""
    yield from _api(api_server)


@pytest.fixture
def controlled_api(controlled_api_server: ControlPlane) -> Iterator[Api]:
    yield from _api(controlled_api_server)
