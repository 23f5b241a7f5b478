"""The servers people would pick instead, around the same simulated device: share of its limit, latency, CPU."""

from dataclasses import dataclass

from bench import peer_environment
from bench.closed_loop import closed_loop, warm_up
from bench.device import bare_call_p50
from bench.figures.headline import CLIENTS, DEVICE, REQUEST
from bench.findings import SHARE, Finding, ratios, voided
from bench.limit import Limit, limit
from bench.payload import Request
from bench.peer_programs import Peer, beside_each, started
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import Server, runtime

FIGURE = "peers"


@dataclass(frozen=True)
class Visit:
    """One run of one server: under 64 clients, then for a client alone. Of the device itself, limit and bare call."""

    per_second: float = 0.0
    cpu_microseconds: float = 0.0
    alone_p50_ms: float = 0.0


def measure(scale: Scale) -> list[Finding]:
    peer_environment.install()
    with limit(DEVICE) as workers, runtime(*DEVICE.flags) as server:
        return beside_each(FIGURE, lambda peer: beside(scale, workers, server, peer))


def beside(scale: Scale, workers: Limit, server: Server, peer: Peer) -> list[Finding]:
    """One peer at a time, so that the others' idle processes cost nothing."""
    with started(peer, DEVICE) as other:
        for one, request in ((server, REQUEST), (other, peer.request)):
            warm_up(one, request, clients=CLIENTS, seconds=scale.peer_warmup_seconds)
        sides = {
            "device": lambda: visit_device(workers, scale.short_seconds),
            "this runtime": lambda: visit(server, REQUEST, scale.short_seconds),
            peer.name: lambda: visit(other, peer.request, scale.short_seconds),
        }
        visits = interleaved(FIGURE, scale.runs, sides)
    bare = visits["device"]
    found = [finding for name in ("this runtime", peer.name) for finding in findings(name, peer, visits[name], bare)]
    return voided(found, visits.void)


def visit(server: Server, request: Request, seconds: int) -> Visit:
    began = server.usage().cpu_seconds
    many = closed_loop(server, request, clients=CLIENTS, seconds=seconds)
    cpu_seconds = server.usage().cpu_seconds - began
    alone = closed_loop(server, request, clients=1, seconds=max(1, seconds // 2))
    return Visit(many.per_second, cpu_seconds / many.requests * 1e6, alone.p50_seconds * 1000)


def visit_device(workers: Limit, seconds: int) -> Visit:
    return Visit(workers.rows_per_second(seconds), alone_p50_ms=bare_call_p50(DEVICE, seconds / 2) * 1000)


def findings(name: str, peer: Peer, visits: list[Visit], bare: list[Visit]) -> list[Finding]:
    """Ours is measured anew beside each peer, so the name says beside whom."""
    who = name if name == peer.name else f"{name} beside {peer.name}"
    shares = ratios([one.per_second for one in visits], [one.per_second for one in bare])
    added = tuple(one.alone_p50_ms - alone.alone_p50_ms for one, alone in zip(visits, bare, strict=True))
    return [
        Finding(FIGURE, f"{who}: share of the limit", SHARE, shares),
        Finding(FIGURE, f"{who}: added p50, one client, over the bare call", "ms", added),
        Finding(FIGURE, f"{who}: CPU per request", "µs", tuple(one.cpu_microseconds for one in visits)),
    ]
