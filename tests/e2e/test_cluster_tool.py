"""The cluster tool on the real machine: up, broken in many ways, up again, down, and the machine as it was."""

import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster import cgroups, counters, teardown
from cluster.pause_image import pause_archive
from e2e.cluster_sandbox import Sandbox, open_sandbox

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(os.geteuid() != 0, reason="raising a cluster takes root"),
]

PAUSE = "docker.io/neuron-serving/pause:1"


@contextmanager
def opened(name: str) -> Iterator[Sandbox]:
    """Under /var/lib, since sockets have short paths and pytest's own folders are long."""
    folder = Path("/var/lib", f"neuron-test-{os.getpid()}-{name}")
    sandbox = open_sandbox(folder)
    try:
        yield sandbox
    finally:
        sandbox.tool("down")
        sandbox.holder.kill()
        sandbox.holder.wait()
        shutil.rmtree(folder)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """Nothing is up in it yet."""
    with opened("own") as fresh:
        yield fresh


@pytest.fixture(scope="module")
def raised() -> Iterator[Sandbox]:
    """A cluster for the tests that leave it as they found it, with two pods and an uplink to the world.

    The uplink's other end answers nothing: a packet that gets out is lost in silence, while the wall refuses at once.
    """
    with opened("shared") as fresh:
        fresh.run("ip", "link", "add", "uplink", "type", "veth", "peer", "name", "world")
        fresh.run("ip", "address", "add", "198.51.100.2/24", "dev", "uplink")
        for link in ("uplink", "world"):
            fresh.run("ip", "link", "set", link, "up")
        fresh.run("ip", "neighbor", "add", "198.51.100.1", "lladdr", "02:00:00:00:00:01", "dev", "uplink")
        fresh.run("ip", "route", "add", "default", "via", "198.51.100.1", "dev", "uplink")
        fresh.must("up")
        roll_out(fresh, deployment("pair", PAUSE, 2))
        yield fresh


def deployment(name: str, image: str, replicas: int, **container: Any) -> dict[str, Any]:
    labels = {"app": name}
    pod = {
        # One on each node.
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": labels},
            }
        ],
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "only", "image": image, "imagePullPolicy": "Never", **container}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def roll_out(sandbox: Sandbox, wanted: dict[str, Any]) -> None:
    sandbox.apply(wanted)
    sandbox.kubectl("rollout", "status", f"deployment/{wanted['metadata']['name']}", "--timeout=300s")


def container_ids(sandbox: Sandbox) -> set[str]:
    pods = json.loads(sandbox.kubectl("get", "pods", "-o", "json"))["items"]
    return {status["containerID"] for pod in pods for status in pod["status"]["containerStatuses"]}


def eventually(holds: Callable[[], bool], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"still not so after {timeout_s} s"
        time.sleep(0.2)


def test_down_leaves_the_machine_as_it_was(sandbox: Sandbox) -> None:
    before = sandbox.snapshot()
    sandbox.must("up")
    assert sandbox.must("status", "--quiet") == "up"
    # A host port makes the network plugin write firewall rules of its own.
    roll_out(sandbox, deployment("pair", PAUSE, 2, ports=[{"containerPort": 80, "hostPort": 8080}]))
    ids = teardown.container_ids(sandbox.settings)
    assert len(ids) >= 4, "two containers and two sandboxes"
    assert cgroups.groups(ids)
    assert "CNI-" in sandbox.run("iptables-save")
    sandbox.must("down")
    assert sandbox.snapshot() == before
    assert cgroups.groups(ids) == ()
    assert removed_counters(sandbox) == dict.fromkeys(counters.NAMES, errno.ENOENT)
    sandbox.must("down")
    assert sandbox.snapshot() == before


def removed_counters(sandbox: Sandbox) -> dict[str, int]:
    code = "import json; from cluster import counters; print(json.dumps(counters.remove()))"
    command = sandbox.command(sys.executable, "-c", code)
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=sandbox.environment())
    codes: dict[str, int] = json.loads(done.stdout)
    return codes


def test_down_finds_containers_whose_containerd_and_shims_are_dead(sandbox: Sandbox) -> None:
    before = sandbox.snapshot()
    sandbox.must("up")
    roll_out(sandbox, deployment("pair", PAUSE, 2))
    ids = teardown.container_ids(sandbox.settings)
    sandbox.kill("n1-containerd", "n2-containerd", "n1-kubelet", "kube-apiserver")
    for pid, command in sandbox.processes().items():
        if "containerd-shim" in command:
            os.kill(pid, 9)
    assert cgroups.members(ids), "the containers outlived their shims"
    assert sandbox.must("status", "--quiet") == "partly"
    sandbox.must("down")
    assert sandbox.snapshot() == before
    assert cgroups.members(ids) == frozenset()
    assert sandbox.must("status", "--quiet") == "down"


def test_up_brings_back_what_was_killed_and_pods_run_on(sandbox: Sandbox) -> None:
    sandbox.must("up")
    roll_out(sandbox, deployment("pair", PAUSE, 2))
    running = container_ids(sandbox)
    sandbox.kill(*sandbox.component_names())
    assert sandbox.must("status", "--quiet") == "partly"
    sandbox.must("up")
    assert sandbox.must("status", "--quiet") == "up"
    roll_out(sandbox, deployment("pair", PAUSE, 2))
    assert container_ids(sandbox) == running


@pytest.mark.parametrize("moment", ["bridges", "API server"])
def test_up_goes_on_after_it_was_killed_itself(sandbox: Sandbox, moment: str) -> None:
    before = sandbox.snapshot()
    command = sandbox.command(sys.executable, "-m", "cluster", "up")
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=sandbox.environment()) as first:
        assert first.stderr is not None
        said = ""
        while moment not in said:
            line = first.stderr.readline()
            assert line, f"up ended before it said {moment}: {said}"
            said += line
        first.kill()
    sandbox.must("up")
    assert sandbox.must("status", "--quiet") == "up"
    sandbox.must("down")
    assert sandbox.snapshot() == before


def test_device_plugin_is_stopped_and_started_alone(raised: Sandbox) -> None:
    others = {name: raised.pid(name) for name in raised.component_names() if name != "n1-device-plugin"}

    def allocatable() -> dict[str, str]:
        nodes = json.loads(raised.kubectl("get", "nodes", "-o", "json"))["items"]
        return {node["metadata"]["name"]: node["status"]["allocatable"]["aws.amazon.com/neuroncore"] for node in nodes}

    assert allocatable() == {"n1": "2", "n2": "2"}
    raised.must("stop", "n1-device-plugin")
    eventually(lambda: allocatable() == {"n1": "0", "n2": "2"})
    raised.must("start", "n1-device-plugin")
    eventually(lambda: allocatable() == {"n1": "2", "n2": "2"})
    assert {name: raised.pid(name) for name in others} == others


IN_POD = """
import json, socket, ssl, struct, time, urllib.error, urllib.request
def connects(address, port):
    try:
        socket.create_connection((address, port), timeout=20).close()
    except OSError as error:
        return type(error).__name__
    return "open"
def resolves(name):
    question = struct.pack(">6H", 7, 256, 1, 0, 0, 0)
    question += b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + struct.pack(">BHH", 0, 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(20)
        client.sendto(question, ("10.96.0.10", 53))
        answer = client.recv(512)
    return socket.inet_ntoa(answer[-4:]) if answer[7] else f"code {answer[3] & 15}"
context = ssl.create_default_context(cafile="CA")
try:
    api = urllib.request.urlopen("https://10.96.0.1/api/v1/secrets", context=context, timeout=20).status
except urllib.error.HTTPError as error:
    api = error.code
print(json.dumps({
    "api": api,
    "kubelet": connects("10.244.1.1", 10250),
    "cluster name": resolves("kubernetes.default.svc.cluster.local"),
    "outside name": resolves("example.com"),
    "outside address": connects("192.0.2.1", 80),
    "unused pod address": connects("10.244.9.9", 80),
}))
"""


def test_pods_reach_the_api_and_nothing_outside(raised: Sandbox) -> None:
    inside = next(member.pid for member in cgroups.members(teardown.container_ids(raised.settings)))
    script = IN_POD.replace("CA", str(raised.settings.certificates / "ca.crt"), 1)
    asked = ["nsenter", f"--net=/proc/{inside}/ns/net", "--", sys.executable, "-c", script]
    answers = json.loads(subprocess.run(asked, check=True, capture_output=True, text=True).stdout)
    assert answers == {
        "api": 403,
        "kubelet": "open",
        "cluster name": "10.96.0.1",
        "outside name": "code 3",
        "outside address": "OSError",
        "unused pod address": "OSError",
    }


ASK = """
import ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(cafile=sys.argv[2])
try:
    print(urllib.request.urlopen(sys.argv[1], context=context, timeout=30).status)
except urllib.error.HTTPError as error:
    print(error.code)
except OSError as error:
    print(type(error).__name__ if not isinstance(error, urllib.error.URLError) else type(error.reason).__name__)
"""


def test_every_door_asks_who_is_there_and_writes_are_in_the_audit_log(raised: Sandbox) -> None:
    folder = raised.settings.certificates

    def ask(url: str, authority: str) -> str:
        return raised.run(sys.executable, "-c", ASK, url, str(folder / f"{authority}.crt")).strip()

    assert ask("https://10.244.0.1:6443/api/v1/nodes", "ca") == "403"
    assert ask("https://10.244.0.1:10250/pods", "ca") == "401"
    assert "Error" in ask("https://10.244.0.1:2379/version", "etcd-ca"), "etcd wants a certificate"
    raised.kubectl("create", "configmap", "counted", "--from-literal=a=b")
    raised.kubectl("get", "configmap", "counted")
    events = [json.loads(line) for line in raised.settings.audit_log.read_text().splitlines()]
    ours = [event for event in events if event.get("objectRef", {}).get("name") == "counted"]
    assert [(event["verb"], event["user"]["username"]) for event in ours] == [("create", "kubernetes-admin")]


def docker_archive(target: Path, name: str, layers: list[dict[str, bytes]]) -> None:
    """What `buildah push IMAGE docker-archive:` writes, from file contents."""
    packed = [_layer(files) for files in layers]
    digests = [f"sha256:{hashlib.sha256(content).hexdigest()}" for content in packed]
    configuration = json.dumps(
        {
            "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
            "os": "linux",
            "config": {"Entrypoint": ["/pause"]},
            "rootfs": {"type": "layers", "diff_ids": digests},
        }
    ).encode()
    names = [f"{digest.removeprefix('sha256:')}.tar" for digest in digests]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [name], "Layers": names}]).encode()
    entries = {"config.json": configuration, "manifest.json": manifest, **dict(zip(names, packed, strict=True))}
    target.write_bytes(_layer(entries))


def _layer(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def pause_program(sandbox: Sandbox) -> bytes:
    with tarfile.open(pause_archive(sandbox.settings)) as image:
        layer = next(member for member in image if member.name.startswith("blobs/"))
        content = image.extractfile(layer)
        assert content is not None
        with tarfile.open(fileobj=content) as files:
            program = files.extractfile("pause")
            assert program is not None
            return program.read()


def test_load_brings_only_the_layers_that_a_node_lacks(raised: Sandbox, tmp_path: Path) -> None:
    image, archive = "docker.io/test/layers:dev", tmp_path / "image.tar"
    base = {"pause": pause_program(raised), "padding": bytes(3_000_000)}
    docker_archive(archive, image, [base, {"version": b"one"}])
    assert "n1 3.7 MB, n2 3.7 MB" in raised.tool("load", str(archive)).stderr
    assert "n1 has it, n2 has it" in raised.tool("load", str(archive)).stderr
    roll_out(raised, deployment("layers", image, 2))
    docker_archive(archive, image, [base, {"version": b"two"}])
    assert "n1 0.0 MB, n2 0.0 MB" in raised.tool("load", str(archive)).stderr
    raised.kubectl("rollout", "restart", "deployment/layers")
    raised.kubectl("rollout", "status", "deployment/layers", "--timeout=300s")


@pytest.mark.parametrize("command", ["up", "down"])
def test_it_says_that_it_takes_root(sandbox: Sandbox, command: str) -> None:
    unprivileged = ["setpriv", "--reuid=65534", "--clear-groups", sys.executable, "-m", "cluster", command]
    # The lock needs a folder that this user may write to.
    environment = sandbox.environment(NEURON_SERVING_CACHE=f"/tmp/neuron-test-{os.getpid()}")
    done = subprocess.run(unprivileged, check=False, capture_output=True, text=True, env=environment)
    shutil.rmtree(f"/tmp/neuron-test-{os.getpid()}", ignore_errors=True)
    assert done.returncode == 1
    assert "takes root" in done.stderr
    assert "next: " in done.stderr


def test_it_names_who_holds_a_port(sandbox: Sandbox) -> None:
    before = sandbox.snapshot()
    code = "import socket, time; s = socket.create_server(('', 6443)); print('up', flush=True); time.sleep(99)"
    with subprocess.Popen(sandbox.command(sys.executable, "-c", code), stdout=subprocess.PIPE) as taker:
        assert taker.stdout is not None
        taker.stdout.readline()
        done = sandbox.tool("up")
        taker.kill()
    assert done.returncode == 1
    assert "port 6443 (kube-apiserver) is taken on every address by python" in done.stderr
    assert f"(process {taker.pid})" in done.stderr
    assert sandbox.snapshot() == before


def test_it_says_where_space_is_missing(sandbox: Sandbox, tmp_path: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], check=True)
    try:
        done = sandbox.tool("up", NEURON_SERVING_STATE=str(tmp_path / "cluster"))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert done.returncode == 1
    assert f"{tmp_path / 'cluster'} has 0.0 GiB free and needs 4" in done.stderr
    assert "NEURON_SERVING_STATE" in done.stderr
