"""Usage: python -m bench [FIGURE ...] [--smoke | --full] [--peers], python -m bench rows --void, python -m bench docs.

Measures the figures of docs/benchmarks.md: every one, or those named. Results are printed, and kept in the product's
cache; `docs` writes what is kept into the page.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import document, machine, peer_environment, results, table
from bench.errors import BenchError
from bench.figures import FIGURES, load, rows
from bench.findings import Finding
from bench.scale import BENCH, FULL, SMOKE, Scale

DOCS = "docs"


def main() -> int:
    given = parse(sys.argv[1:])
    # An ordinary exit, so that every server is ended on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    path = given.results or results.default_path(is_smoke=given.smoke)
    if given.figures == [DOCS]:
        return write_docs(path)
    scale = SMOKE if given.smoke else FULL if given.full else BENCH
    try:
        if given.void:
            return measure_void_rows(path)
        failed = measure(chosen(given.figures, with_peers=given.peers), scale, path)
    except KeyboardInterrupt:
        return 130
    return 1 if failed else 0


def measure_void_rows(path: Path) -> int:
    """Those of which the hypervisor took the CPUs, again, at the scale of the others; what they all come to is kept."""
    kept = results.load(path)
    if kept is None or rows.FIGURE not in kept.scales:
        print("bench: there are no rows yet; make bench K=rows measures them", file=sys.stderr)
        return 1
    scale = FULL if kept.scales[rows.FIGURE] == FULL.name else BENCH
    new = rows.measure(scale, kept.findings)
    results.save(path, results.updated(kept, machine.description(), scale.name, new))
    print(table.terminal(new))
    return 0


def write_docs(path: Path) -> int:
    kept = results.load(path)
    if kept is None:
        print("bench: there are no results yet; make bench measures them", file=sys.stderr)
        return 1
    document.write(kept)
    return 0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    listed = "\n".join(f"  {name:<12} {text}" for name, text in FIGURES.items())
    parser = argparse.ArgumentParser(
        prog="bench",
        description=__doc__,
        epilog=f"figures:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help="which to measure")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--smoke", action="store_true", help="one run of a second each: does it work at all")
    size.add_argument("--full", action="store_true", help="every row of AWS's table, a million requests")
    parser.add_argument("--void", action="store_true", help="of rows, only those that the machine spoiled last time")
    parser.add_argument("--peers", action="store_true", help="the other servers too; installs them the first time")
    parser.add_argument("--results", type=Path, help="where results are kept")
    given = parser.parse_args(argv)
    if given.void and given.figures != [rows.FIGURE]:
        parser.error("--void goes with the figure rows alone")
    unknown = [name for name in given.figures if name not in FIGURES and given.figures != [DOCS]]
    if unknown:
        parser.error(f"there is no figure '{unknown[0]}'; choose from {', '.join(FIGURES)}")
    return given


def chosen(named: Sequence[str], *, with_peers: bool) -> list[str]:
    """The figures to measure: those named, or all. The other servers only if they are installed or asked for."""
    if with_peers:
        peer_environment.install()
    if named:
        return list(named)
    return [name for name in FIGURES if name != "peers" or peer_environment.is_installed()]


def measure(names: Sequence[str], scale: Scale, path: Path) -> list[str]:
    """Measure, keep and print the figures, also when it is broken off; the names of those that could not be taken."""
    failed: list[str] = []
    found: list[Finding] = []
    try:
        for name in names:
            try:
                new = load(name)(scale)
            except BenchError as error:
                print(f"bench: {name}: {error}", file=sys.stderr)
                failed.append(name)
                continue
            found += new
            results.save(path, results.updated(results.load(path), machine.description(), scale.name, new))
    finally:
        print(table.terminal(found))
    return failed


if __name__ == "__main__":
    sys.exit(main())
