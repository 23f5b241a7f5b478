"""Watches that break in the middle: the process ends rather than decide on what it no longer sees."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.conftest import install_crd
from integration.control_plane import ControlPlane
from integration.faulty_proxy import FaultyProxy
from integration.operator_process import OperatorProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def proxy(api_server: ControlPlane) -> Iterator[FaultyProxy]:
    install_crd(api_server)
    made = FaultyProxy(api_server.operator_kubeconfig)
    yield made
    made.close()


@pytest.mark.parametrize("plural", ["neuronmodels", "pods"])
def test_an_error_in_a_watch_ends_the_process_with_a_failure(proxy: FaultyProxy, plural: str, tmp_path: Path) -> None:
    operator = OperatorProcess(proxy.write_kubeconfig(tmp_path / "kubeconfig"), tmp_path / "operator.log")
    operator.start()
    try:
        status = {"kind": "Status", "status": "Failure", "code": 500, "reason": "InternalError", "message": "etcd lost"}
        proxy.inject(plural, {"type": "ERROR", "object": status})
        assert operator.process.wait(timeout=60) == 1
    finally:
        operator.process.kill()
        operator.process.wait()
    assert "etcd lost" in operator.log.read_text()
