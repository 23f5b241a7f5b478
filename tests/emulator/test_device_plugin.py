"""The plugin process against a kubelet of ours: gRPC on real sockets, as the kubelet speaks it."""

import concurrent.futures
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from emulator.kubelet_api import KUBELET_SOCKET, messages, plugin_call, registration_handler

pytestmark = pytest.mark.integration

HACK = Path(__file__).parents[2] / "hack"
CORE_SOCKET = "neuron-emulator-neuroncore.sock"
DEVICE_SOCKET = "neuron-emulator-neuron.sock"


class Kubelet:
    """The kubelet's registration service; `registered` holds (resource, endpoint) in order of arrival."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.registered: queue.Queue[tuple[str, str]] = queue.Queue()
        self.preferring: dict[str, bool] = {}
        self._server: grpc.Server | None = None

    def start(self) -> None:
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((registration_handler(self._register),))
        self._server.add_insecure_port(f"unix://{self.directory / KUBELET_SOCKET}")
        self._server.start()

    def stop(self) -> None:
        """As a kubelet that restarts: every socket of the directory is gone afterwards."""
        assert self._server is not None
        self._server.stop(0).wait()
        for path in self.directory.iterdir():
            path.unlink()

    def await_both(self) -> dict[str, str]:
        return dict(self.registered.get(timeout=60) for _ in range(2))

    def call(self, endpoint: str, method: str, request: Any) -> Any:
        with grpc.insecure_channel(f"unix://{self.directory / endpoint}") as channel:
            return plugin_call(channel, method)(request, timeout=60)

    def _register(self, request: Any, _: object) -> Any:
        self.preferring[request.resource_name] = request.options.get_preferred_allocation_available
        self.registered.put((request.resource_name, request.endpoint))
        return messages["Empty"]()


@pytest.fixture
def directory() -> Iterator[Path]:
    # A socket's path holds 107 characters at most: pytest's own directories are too deep.
    path = Path(tempfile.mkdtemp(prefix="nsk"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """As `site_packages` leaves it: links to folders named by their content."""
    for name in ("torch", "stand-ins", "bin"):
        (tmp_path / "prepared" / f"{name}-1").mkdir(parents=True)
        (tmp_path / "prepared" / name).symlink_to(f"{name}-1")
    return tmp_path / "prepared"


@pytest.fixture
def kubelet(directory: Path) -> Iterator[Kubelet]:
    kubelet = Kubelet(directory)
    kubelet.start()
    yield kubelet
    kubelet.stop()


@pytest.fixture
def plugin(directory: Path, prepared: Path, tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "emulator.device_plugin", "--plugin-dir", str(directory)]
    command += ["--state-dir", str(tmp_path / "state"), "--site-packages", str(prepared), "--node", "n1"]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(HACK)}) as process:
        yield process
        process.kill()


@pytest.mark.usefixtures("plugin")
def test_both_resources_are_registered_with_preferred_allocation(kubelet: Kubelet) -> None:
    assert kubelet.await_both() == {
        "aws.amazon.com/neuroncore": CORE_SOCKET,
        "aws.amazon.com/neuron": DEVICE_SOCKET,
    }
    assert set(kubelet.preferring.values()) == {True}


@pytest.mark.usefixtures("plugin")
def test_allocate_hands_over_environment_mounts_and_devices(kubelet: Kubelet, prepared: Path, tmp_path: Path) -> None:
    kubelet.await_both()
    asked = messages["AllocateRequest"](
        container_requests=[messages["ContainerAllocateRequest"](devices_ids=["neuroncore-1"])]
    )

    (answer,) = kubelet.call(CORE_SOCKET, "Allocate", asked).container_responses

    assert answer.envs["NEURON_RT_VISIBLE_CORES"] == "1"
    assert [(device.container_path, device.host_path) for device in answer.devices] == [("/dev/neuron0", "/dev/null")]
    assert {(mount.container_path, mount.host_path, mount.read_only) for mount in answer.mounts} == {
        ("/opt/neuron-emulator/site-packages", str(prepared / "torch-1"), True),
        ("/opt/neuron-emulator/stand-ins", str(prepared / "stand-ins-1"), True),
        ("/opt/aws/neuron/bin", str(prepared / "bin-1"), True),
        ("/run/neuron-emulator", str(tmp_path / "state"), False),
    }


@pytest.mark.usefixtures("plugin")
def test_preferred_allocation_answers_over_the_wire(kubelet: Kubelet) -> None:
    kubelet.await_both()
    asked = messages["PreferredAllocationRequest"](
        container_requests=[
            messages["ContainerPreferredAllocationRequest"](
                available_deviceIDs=["neuroncore-1", "neuroncore-0"], allocation_size=1
            )
        ]
    )

    (answer,) = kubelet.call(CORE_SOCKET, "GetPreferredAllocation", asked).container_responses

    assert list(answer.deviceIDs) == ["neuroncore-0"]


@pytest.mark.usefixtures("plugin")
def test_health_follows_the_file(kubelet: Kubelet, tmp_path: Path) -> None:
    kubelet.await_both()
    unhealthy = tmp_path / "state" / "unhealthy"
    with grpc.insecure_channel(f"unix://{kubelet.directory / CORE_SOCKET}") as channel:
        stream = plugin_call(channel, "ListAndWatch")(messages["Empty"](), timeout=60)

        def following() -> dict[str, str]:
            return {device.ID: device.health for device in next(stream).devices}

        assert following() == {"neuroncore-0": "Healthy", "neuroncore-1": "Healthy"}
        unhealthy.write_text("neuroncore-1\n")
        assert following() == {"neuroncore-0": "Healthy", "neuroncore-1": "Unhealthy"}
        unhealthy.unlink()
        assert following() == {"neuroncore-0": "Healthy", "neuroncore-1": "Healthy"}


@pytest.mark.usefixtures("plugin")
def test_a_restarted_kubelet_is_registered_with_again(kubelet: Kubelet) -> None:
    kubelet.await_both()

    kubelet.stop()
    kubelet.start()

    assert set(kubelet.await_both()) == {"aws.amazon.com/neuroncore", "aws.amazon.com/neuron"}


def test_sigterm_ends_it_and_removes_its_sockets(kubelet: Kubelet, plugin: "subprocess.Popen[bytes]") -> None:
    kubelet.await_both()

    plugin.send_signal(signal.SIGTERM)

    assert plugin.wait(timeout=60) == 0
    assert [path.name for path in kubelet.directory.iterdir()] == [KUBELET_SOCKET]


def test_a_node_that_was_not_prepared_is_refused(directory: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "emulator.device_plugin", "--plugin-dir", str(directory)]
    command += ["--state-dir", str(tmp_path / "state"), "--site-packages", str(tmp_path / "nothing")]

    refused = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(HACK)}, capture_output=True, text=True, check=False
    )

    assert refused.returncode == 2
    assert "python -m emulator.site_packages" in refused.stderr
