"""The arguments of `neuron-runtime simulate-batching`, as the buckets, the device and the arrivals they stand for."""

import argparse
import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuron_runtime.batch_policy import Buckets, Limits
from neuron_runtime.buckets import Form
from neuron_runtime.simulating.simulation import Arrival, Device

_DESCRIPTION = """Shows what the batch policy of `neuron-runtime serve` decides for a trace of arrivals. No server, no
device and no clock are involved: the same arguments always give the same decisions."""
_EXAMPLE = """examples:
  neuron-runtime simulate-batching --bucket 1=0.6ms --bucket 8=2.3ms --rate 5000
  neuron-runtime simulate-batching --bucket 8x32=1ms --bucket 8x128=4ms --trace arrivals.csv --show 100
arrivals.csv has the columns at_seconds and, where they are not 1, rows and length."""
_BUCKET = re.compile(r"(?P<batch>\d+)(x(?P<length>\d+))?=(?P<time>\d+(\.\d+)?)ms")
MOST_ARRIVALS = 1_000_000


@dataclass(frozen=True)
class Bucket:
    batch_size: int
    length: int
    seconds: float


def parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="neuron-runtime simulate-batching",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--bucket", dest="buckets", action="append", required=True, type=_bucket, metavar="BATCH[xLENGTH]=TIMEms",
        help="a compiled shape and what one batch of it takes on a core; once for each",
    )  # fmt: skip
    arrivals = parser.add_mutually_exclusive_group(required=True)
    arrivals.add_argument("--rate", type=_positive, metavar="N", help="requests a second, at random (Poisson)")
    arrivals.add_argument("--clients", type=_count, metavar="N", help="clients that ask again as soon as answered")
    arrivals.add_argument("--trace", type=Path, metavar="FILE", help="a CSV file of arrivals")
    parser.add_argument("--seconds", type=_positive, default=1.0, help="how long --rate or --clients go on (default 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the random arrivals (default 1)")
    parser.add_argument("--cores", type=_count, default=2, help="NeuronCores (default 2)")
    parser.add_argument("--in-flight", type=_count, default=2, help="calls in flight on each (default 2)")
    parser.add_argument(
        "--hop-microseconds", type=float, default=200.0, help="from the server to a core, and back (default 200)"
    )
    parser.add_argument(
        "--window-microseconds", type=float, default=500.0, help="longest wait for company (default 500)"
    )
    parser.add_argument("--show", type=int, default=20, metavar="N", help="decisions to print (default 20; 0: none)")
    arguments = parser.parse_args(argv)
    if arguments.rate and arguments.rate * arguments.seconds > MOST_ARRIVALS:
        parser.error(f"--rate for --seconds makes over {MOST_ARRIVALS} requests; simulate a shorter time")
    return arguments


def buckets_of(given: Sequence[Bucket]) -> Buckets:
    """Buckets in the order given; those of one length make a form, the shortest first."""
    lengths = sorted({bucket.length for bucket in given})
    forms = tuple(
        Form(
            ((length,),),
            tuple(sorted((bucket.batch_size, index) for index, bucket in enumerate(given) if bucket.length == length)),
        )
        for length in lengths
    )
    return Buckets(forms, [bucket.seconds for bucket in given])


def device_of(arguments: argparse.Namespace) -> Device:
    return Device(arguments.cores, arguments.in_flight, arguments.hop_microseconds / 1e6)


def limits_of(arguments: argparse.Namespace) -> Limits:
    return Limits(arguments.window_microseconds / 1e6)


def poisson(rate: float, seconds: float, seed: int, forms: Sequence[Form]) -> Iterator[Arrival]:
    """Requests of one row that every form holds."""
    generator = np.random.default_rng(seed)
    at = generator.exponential(1 / rate)
    while at < seconds:
        yield Arrival(at, fits=(1 << len(forms)) - 1)
        at += generator.exponential(1 / rate)


def read_trace(path: Path, forms: Sequence[Form]) -> list[Arrival]:
    """The file's arrivals in the order of time; ValueError names the line that cannot be used."""
    with path.open(newline="") as file:
        return sorted(
            (_arrival(row, number, forms) for number, row in enumerate(csv.DictReader(file), start=2)),
            key=lambda arrival: arrival.at,
        )


def _arrival(row: dict[str, str], number: int, forms: Sequence[Form]) -> Arrival:
    try:
        at, rows, length = float(row["at_seconds"]), int(row.get("rows") or 1), int(row.get("length") or 1)
    except (KeyError, ValueError) as error:
        raise ValueError(f"line {number}: at_seconds, rows and length must be numbers, not {error}") from None
    fits = sum(1 << index for index, form in enumerate(forms) if form.holds(((length,),)))
    if at < 0 or rows < 1 or not fits:
        raise ValueError(f"line {number}: no bucket holds {rows} rows of length {length} at {at} s")
    return Arrival(at, rows, fits)


def _bucket(text: str) -> Bucket:
    found = _BUCKET.fullmatch(text)
    if not found or int(found["batch"]) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not BATCH=TIMEms or BATCHxLENGTH=TIMEms, such as 8x128=2.3ms")
    return Bucket(int(found["batch"]), int(found["length"] or 1), float(found["time"]) / 1000)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return value
