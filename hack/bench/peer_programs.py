"""How each peer is started and asked. One place for what differs between them: command, request, readiness."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import peer_environment
from bench.device import MODEL, SimulatedDevice
from bench.errors import BenchError
from bench.findings import Finding
from bench.payload import Request, open_inference, plain, plain_batch
from bench.servers import HOST, ROOT, Program, Server, free_port, running

_DEVICE_FILE_BYTES = 1024


@dataclass(frozen=True)
class Peer:
    """`command` gets the port and makes a module and its arguments, for the peers' own Python."""

    name: str
    request: Request
    ready_path: str
    command: Callable[[int], list[str]]


def _adapter(name: str) -> Callable[[int], list[str]]:
    return lambda port: [f"bench.peers.{name}", str(port)]


def _mlserver(port: int) -> list[str]:
    return ["bench.peers.adapter_mlserver", str(port), str(free_port())]


def _bentoml(port: int) -> list[str]:
    return ["bentoml", "serve", "bench.peers.adapter_bentoml:Rows", "--host", HOST, "--port", str(port)]


PEERS = (
    Peer("MLServer", open_inference(MODEL), "/v2/health/ready", _mlserver),
    Peer("LitServe", plain("/predict"), "/health", _adapter("adapter_litserve")),
    Peer("BentoML", plain_batch("/predict"), "/readyz", _bentoml),
    Peer("FastAPI tutorial", plain("/predict"), "/health", _adapter("adapter_fastapi")),
)


def beside_each(figure: str, measure: Callable[[Peer], list[Finding]]) -> list[Finding]:
    """`measure` of every peer; one that fails is a void row, and the others are still measured."""
    found: list[Finding] = []
    for peer in PEERS:
        try:
            found += measure(peer)
        except BenchError as error:
            found.append(Finding(figure, peer.name, "", (math.nan,), void=str(error)))
    return found


@contextmanager
def started(peer: Peer, device: SimulatedDevice, torchscript: Path | None = None) -> Iterator[Server]:
    """The peer around the simulated device, or around a TorchScript file with as many calls at once."""
    with TemporaryDirectory() as folder:
        shared = Path(folder) / "device"
        shared.write_bytes(bytes(_DEVICE_FILE_BYTES))
        port = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "PYTHONPATH": str(ROOT / "hack"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "BENTOML_DO_NOT_TRACK": "true",
            "BENCH_MODEL": str(torchscript or "simulated"),
            "BENCH_DEVICE_FILE": str(shared),
            "BENCH_CORES": str(device.cores),
            "BENCH_SERVICE_MS": str(device.service_ms),
            "BENCH_BATCH_SIZE": str(device.batch_size),
            "BENCH_CALLS": str(device.cores * device.in_flight),
        }
        command = [str(peer_environment.python()), "-m", *peer.command(port)]
        with running(Program(peer.name, command, environment, peer.ready_path, port=port)) as server:
            yield server
