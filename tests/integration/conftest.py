"""Fixtures of the integration tests: a real API server, and one with the controllers behind it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.control_plane import ControlPlane

CRD = Path(__file__).parents[2] / "crds" / "neuronmodels.neuron-serving.dev.yaml"


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """etcd and kube-apiserver, nothing installed; one for all tests, so each uses a namespace of its own."""
    control_plane = ControlPlane(tmp_path_factory.mktemp("control-plane"))
    try:
        control_plane.start()
        yield control_plane
    finally:
        control_plane.stop()
