"""Usage: python -m operator_bench [FIGURE ...] [--full | --models N,N [--runs N]], or python -m operator_bench docs.

Measures the figures of docs/operator-benchmarks.md: every one, or those named. Each run has an API server of its own.
Rows are printed as they come and kept in the product's cache; `docs` writes what is kept into the page.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from operator_bench import document, results
from operator_bench.figures import FIGURES
from operator_bench.scale import BENCH, FULL, Scale, chosen_by_hand
from operator_bench.session import measure

DOCS = "docs"


def main() -> int:
    given = parse(sys.argv[1:])
    # An ordinary exit, so that every server is ended on the way out.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    path = given.results or (None if given.models else results.default_path())
    if given.figures == [DOCS]:
        return write_docs(path or results.default_path())
    try:
        is_complete = measure(scale_of(given), path)
    except KeyboardInterrupt:
        return 130
    return 0 if is_complete else 1


def write_docs(path: Path) -> int:
    kept = results.load(path)
    if kept is None:
        print("operator_bench: there are no results yet; make bench-operator measures them", file=sys.stderr)
        return 1
    document.write(kept)
    return 0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    listed = "\n".join(f"  {name:<9} {text}" for name, text in FIGURES.items())
    parser = argparse.ArgumentParser(
        prog="operator_bench",
        description=__doc__,
        epilog=f"figures:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help="which to measure")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="1,000 models five times, and 5,000 with ten minutes of rest")
    size.add_argument("--models", type=counts, help="as many, to try things out; kept only with --results")
    parser.add_argument("--runs", type=int, help="with --models: how often each, 1 if not given")
    parser.add_argument("--results", type=Path, help="where results are kept")
    given = parser.parse_args(argv)
    unknown = [name for name in given.figures if name not in FIGURES and given.figures != [DOCS]]
    if unknown:
        parser.error(f"there is no figure '{unknown[0]}'; choose from {', '.join(FIGURES)}")
    if given.runs is not None and (given.models is None or given.runs < 1):
        parser.error("--runs is a number from 1 on, and goes with --models")
    return given


def counts(text: str) -> list[int]:
    """Numbers of models, separated by commas."""
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of numbers such as 200,1000") from error
    if min(found) < 1:
        raise argparse.ArgumentTypeError("at least one model")
    return found


def scale_of(given: argparse.Namespace) -> Scale:
    scale = chosen_by_hand(given.models, given.runs or 1) if given.models else FULL if given.full else BENCH
    return scale.only(given.figures)


if __name__ == "__main__":
    sys.exit(main())
