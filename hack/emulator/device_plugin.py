"""The emulated Neuron device plugin: one per node, registered with the kubelet over its real API.

Started by the cluster tool with the node's directories. Registers again whenever the kubelet makes a new socket,
reports health from a file, and ends cleanly on SIGTERM. It decides nothing itself: see `allocation`.
"""

import argparse
import concurrent.futures
import contextlib
import datetime
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc

from emulated_node.instances import INSTANCES, InstanceFacts
from emulated_node.node import Node
from emulator.allocation import (
    CORE_RESOURCE,
    DEVICE_RESOURCE,
    VISIBLE_CORES_FORMS,
    HostPaths,
    grant,
    is_healthy,
    offered_ids,
    preferred_ids,
)
from emulator.kubelet_api import (
    HEALTHY,
    KUBELET_SOCKET,
    UNHEALTHY,
    VERSION,
    messages,
    plugin_handler,
    register_call,
)

_POLL_SECONDS = 0.2
_REGISTER_SECONDS = 5.0


def say(text: str) -> None:
    moment = datetime.datetime.now(datetime.UTC).strftime("%H:%M:%S.%f")[:-3]
    print(f"{moment} neuron-emulator device plugin: {text}", flush=True)


class Health:
    """The ids named in a file, followed by every ListAndWatch stream."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = threading.Condition()
        self._version = 0
        self._unhealthy: frozenset[str] = frozenset()

    def refresh(self) -> None:
        found: frozenset[str] = frozenset()
        with contextlib.suppress(FileNotFoundError):
            found = frozenset(self._path.read_text().split())
        with self._changed:
            if found != self._unhealthy:
                self._unhealthy = found
                self._announce()

    def announce(self) -> None:
        """Wake every stream, so that it notices that its server has ended."""
        with self._changed:
            self._announce()

    def current(self) -> tuple[int, frozenset[str]]:
        with self._changed:
            return self._version, self._unhealthy

    def wait_after(self, version: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._version != version)

    def _announce(self) -> None:
        self._version += 1
        self._changed.notify_all()


class ResourcePlugin:
    """One resource's DevicePlugin service and its socket. Its methods are the API's, in snake case."""

    def __init__(self, resource: str, facts: InstanceFacts, paths: HostPaths, health: Health, form: str) -> None:
        self.resource = resource
        self.endpoint = f"neuron-emulator-{resource.rpartition('/')[2]}.sock"
        self._facts, self._paths, self._health, self._form = facts, paths, health, form
        self._server: grpc.Server | None = None
        self._ended = threading.Event()

    def serve(self, directory: Path) -> None:
        """Listen anew: a restarted kubelet has removed the old socket."""
        self.stop()
        socket = directory / self.endpoint
        socket.unlink(missing_ok=True)
        self._ended = threading.Event()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((plugin_handler(self),))
        self._server.add_insecure_port(f"unix://{socket}")
        self._server.start()

    def stop(self) -> None:
        self._ended.set()
        self._health.announce()
        if self._server is not None:
            self._server.stop(grace=0).wait()
            self._server = None

    def register(self, directory: Path) -> None:
        request = messages["RegisterRequest"](
            version=VERSION, endpoint=self.endpoint, resource_name=self.resource, options=_options()
        )
        with grpc.insecure_channel(f"unix://{directory / KUBELET_SOCKET}") as channel:
            register_call(channel)(request, timeout=_REGISTER_SECONDS)
        say(f"registered {self.resource}: {', '.join(offered_ids(self.resource, self._facts))}")

    def get_device_plugin_options(self, request: Any, context: grpc.ServicerContext) -> Any:
        return _options()

    def list_and_watch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        ended = self._ended
        context.add_callback(self._health.announce)
        while context.is_active() and not ended.is_set():
            version, unhealthy = self._health.current()
            devices = {
                name: HEALTHY if is_healthy(name, unhealthy, self._facts) else UNHEALTHY
                for name in offered_ids(self.resource, self._facts)
            }
            say(f"{self.resource} {devices}")
            yield messages["ListAndWatchResponse"](
                devices=[messages["Device"](ID=name, health=health) for name, health in devices.items()]
            )
            self._health.wait_after(version)

    def get_preferred_allocation(self, request: Any, context: grpc.ServicerContext) -> Any:
        group = self._facts.cores_per_device if self.resource == CORE_RESOURCE else 1
        answers = [
            messages["ContainerPreferredAllocationResponse"](
                deviceIDs=preferred_ids(
                    asked.available_deviceIDs, asked.must_include_deviceIDs, asked.allocation_size, group
                )
            )
            for asked in request.container_requests
        ]
        return messages["PreferredAllocationResponse"](container_responses=answers)

    def allocate(self, request: Any, context: grpc.ServicerContext) -> Any:
        return messages["AllocateResponse"](
            container_responses=[self._allocated(asked.devices_ids) for asked in request.container_requests]
        )

    def pre_start_container(self, request: Any, context: grpc.ServicerContext) -> Any:
        return messages["PreStartContainerResponse"]()

    def _allocated(self, device_ids: Sequence[str]) -> Any:
        given = grant(device_ids, self.resource, self._facts, self._paths.resolved(), self._form)
        say(f"{self.resource} allocated {sorted(device_ids)}: {given.environment}")
        return messages["ContainerAllocateResponse"](
            envs=given.environment,
            mounts=[
                messages["Mount"](container_path=container, host_path=str(host), read_only=read_only)
                for container, host, read_only in given.mounts
            ],
            devices=[
                # No driver here: programs that look for the device files find some, and no program reads them.
                messages["DeviceSpec"](container_path=path, host_path="/dev/null", permissions="rw")
                for path in given.devices
            ],
        )


def _options() -> Any:
    return messages["DevicePluginOptions"](get_preferred_allocation_available=True)


def run(plugins: Sequence[ResourcePlugin], directory: Path, health: Health, stop: threading.Event) -> None:
    """Serve until told to stop, registering with every kubelet socket that appears."""
    registered_with: tuple[int, int] | None = None
    while not stop.is_set():
        health.refresh()
        socket = _identity(directory / KUBELET_SOCKET)
        if socket is not None and socket != registered_with:
            try:
                for plugin in plugins:
                    plugin.serve(directory)
                    plugin.register(directory)
                registered_with = socket
            except grpc.RpcError as error:
                say(f"the kubelet does not answer yet: {error}")
        stop.wait(_POLL_SECONDS)
    for plugin in plugins:
        plugin.stop()
        (directory / plugin.endpoint).unlink(missing_ok=True)
    say("ended")


def _identity(socket: Path) -> tuple[int, int] | None:
    try:
        found = socket.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_ctime_ns


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m emulator.device_plugin", description=__doc__)
    parser.add_argument("--plugin-dir", type=Path, default=Path("/var/lib/kubelet/device-plugins"))
    parser.add_argument("--instance-type", choices=sorted(INSTANCES), default="inf2.xlarge")
    parser.add_argument("--state-dir", type=Path, required=True, help="the node's directory; pods get it too")
    parser.add_argument(
        "--site-packages", type=Path, required=True, help="what `python -m emulator.site_packages DEST` made"
    )
    parser.add_argument("--node", default="", help="a name for the log lines")
    parser.add_argument("--visible-cores-form", choices=VISIBLE_CORES_FORMS, default="list")
    parser.add_argument(
        "--unhealthy-file", type=Path, help="ids of unhealthy devices, one a line (default: STATE_DIR/unhealthy)"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parsed(arguments)
    paths = HostPaths.under(options.site_packages, options.state_dir)
    for path in (paths.torch, paths.stand_ins, paths.bin):
        if not path.is_dir():
            print(f"{path} is missing: run `python -m emulator.site_packages {options.site_packages}`", file=sys.stderr)
            return 2
    Node(options.state_dir, {}).describe(options.instance_type)
    facts = INSTANCES[options.instance_type]
    say(
        f"EMULATED {facts.instance_type} on node {options.node or '(unnamed)'}: {facts.device_count} devices, "
        f"{facts.core_count} NeuronCores, no Neuron silicon"
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    health = Health(options.unhealthy_file or options.state_dir / "unhealthy")
    plugins = [
        ResourcePlugin(resource, facts, paths, health, options.visible_cores_form)
        for resource in (CORE_RESOURCE, DEVICE_RESOURCE)
    ]
    run(plugins, options.plugin_dir, health, stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
