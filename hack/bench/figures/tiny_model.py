"""Requests per second where the model costs nothing: the tiny TorchScript MLP, 64 clients, beside the other servers."""

from pathlib import Path
from tempfile import TemporaryDirectory

from bench import peer_environment, tiny_model
from bench.closed_loop import closed_loop, warm_up
from bench.figures.headline import CLIENTS, DEVICE, REQUEST
from bench.findings import Finding, Target, ratios, voided
from bench.loops import ClosedLoop
from bench.peer_programs import Peer, beside_each, started
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import Server, runtime

FIGURE = "tiny-model"
OVER_MLSERVER = Target("at least", 15)


def measure(scale: Scale) -> list[Finding]:
    with TemporaryDirectory() as folder:
        program, bundle = tiny_model.build(Path(folder))
        with runtime(*tiny_model.flags(bundle)) as server:
            if not peer_environment.is_installed():
                return alone(scale, server)
            return beside_each(FIGURE, lambda peer: beside(scale, server, peer, program))


def alone(scale: Scale, server: Server) -> list[Finding]:
    warm_up(server, REQUEST, clients=CLIENTS, seconds=scale.warmup_seconds)
    sides = {"server": lambda: closed_loop(server, REQUEST, clients=CLIENTS, seconds=scale.seconds)}
    loops = interleaved(FIGURE, scale.runs, sides)
    note = "the other servers are not installed; make bench PEERS=1 measures them"
    return voided([rate_of("this runtime", loops["server"], note)], loops.void)


def beside(scale: Scale, server: Server, peer: Peer, program: Path) -> list[Finding]:
    """One peer at a time, so that the others' idle processes cost nothing."""
    with started(peer, DEVICE, program) as other:
        for one, request in ((server, REQUEST), (other, peer.request)):
            warm_up(one, request, clients=CLIENTS, seconds=scale.peer_warmup_seconds)
        sides = {
            "this runtime": lambda: closed_loop(server, REQUEST, clients=CLIENTS, seconds=scale.short_seconds),
            peer.name: lambda: closed_loop(other, peer.request, clients=CLIENTS, seconds=scale.short_seconds),
        }
        loops = interleaved(FIGURE, scale.runs, sides)
    ours, theirs = loops["this runtime"], loops[peer.name]
    over = ratios([loop.per_second for loop in ours], [loop.per_second for loop in theirs])
    target = OVER_MLSERVER if peer.name == "MLServer" else None
    found = [
        rate_of(f"this runtime beside {peer.name}", ours),
        rate_of(peer.name, theirs),
        Finding(FIGURE, f"this runtime over {peer.name}", "times", over, target),
    ]
    return voided(found, loops.void)


def rate_of(name: str, loops: list[ClosedLoop], note: str = "") -> Finding:
    caveats = sorted({loop.caveat for loop in loops if loop.caveat})
    rates = tuple(loop.per_second for loop in loops)
    return Finding(FIGURE, name, "requests/s", rates, note="; ".join(filter(None, [note, *caveats])))
