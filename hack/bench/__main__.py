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
from bench.figures import FIGURES, load
from bench.findings import Finding
from bench.scale import BENCH, FULL, SMOKE, Scale

DOCS, ROWS = "docs", "rows"


def main() -> int:
    given = parse(sys.argv[1:])
    # An ordinary exit, so that every server is ended on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    path = given.results or results.default_path(is_smoke=given.smoke)
    if given.figures == [DOCS]:
        return write_docs(path)
    scale = SMOKE if given.smoke else FULL if given.full else BENCH
    kept = results.load(path)
    if given.void and (kept is None or ROWS not in kept.scales):
        print("bench: there are no rows yet; make bench K=rows measures them", file=sys.stderr)
        return 1
    if given.void and kept is not None and kept.scales[ROWS] == FULL.name:
        scale = FULL
    try:
        failed = measure(chosen(given.figures, with_peers=given.peers), scale, path, void_only=given.void)
    except KeyboardInterrupt:
        return 130
    return 1 if failed else 0


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
    size.add_argument("--void", action="store_true", help="of rows, only those that the machine spoiled last time")
    parser.add_argument("--peers", action="store_true", help="the other servers too; installs them the first time")
    parser.add_argument("--results", type=Path, help="where results are kept")
    given = parser.parse_args(argv)
    if given.void and (given.figures != [ROWS] or given.peers):
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


def measure(names: Sequence[str], scale: Scale, path: Path, *, void_only: bool = False) -> list[str]:
    """Measure, keep and print the figures, also when it is broken off; the names of those that could not be taken.

    With `void_only` what is kept with a result is not measured again, by figures that can tell.
    """
    failed: list[str] = []
    found: list[Finding] = []
    try:
        for name in names:
            try:
                before = results.load(path) if void_only else None
                new = load(name)(scale, before.findings) if before is not None else load(name)(scale)
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
