"""The arguments of `neuron-runtime bench`."""

import argparse
from pathlib import Path

from neuron_runtime.benchmarking.load import MOST_CLIENTS, MOST_SECONDS
from neuron_runtime.benchmarking.measurement import Objective

_DESCRIPTION = """Puts a server under load and says how fast it answers: a closed loop for each number of --clients,
which wait for their answer before they ask again, and an open loop of Poisson arrivals for each of --rates, whose
latency counts from when each request was due. Any server will do that answers /predict, the Open Inference Protocol or
OpenAI's embeddings over plain HTTP."""
_EPILOG = """exit codes:
  0  every objective met (without objectives: everything was answered with 2xx at least once)
  1  an objective missed
  2  wrong arguments, or the server does not answer the first request with 2xx
  3  the generator was the limit, not the server: the numbers prove nothing, whatever the objectives

example:
  neuron-runtime bench --url http://127.0.0.1:8080 --api predict --text "a fine day" --clients 1,64 --p99 20ms"""
OBJECTIVES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}
DEFAULT_CLIENTS = (1, 8, 64)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="neuron-runtime bench",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--url", required=True, help="the server, as http://HOST:PORT")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too; - for standard output")
    parser.add_argument("--quiet", action="store_true", help="no table and no progress bar")
    _add_request_flags(parser.add_argument_group("request"))
    _add_load_flags(parser.add_argument_group("load"))
    _add_objective_flags(parser.add_argument_group("objectives, for every load"))
    options = parser.parse_args(argv)
    if not options.clients and not options.rates:
        options.clients = DEFAULT_CLIENTS
    longest = options.seconds + options.warmup_seconds
    if longest > MOST_SECONDS:
        parser.error(f"--seconds and --warmup-seconds are {longest:g} together; at most {MOST_SECONDS:g}")
    return options


def _add_request_flags(group: "argparse._ArgumentGroup") -> None:
    group.add_argument(
        "--api", choices=["predict", "infer", "embeddings"], default="infer",
        help="POST /predict, /v2/models/MODEL/infer or /v1/embeddings (default infer)",
    )  # fmt: skip
    group.add_argument("--model", help="the model's name (default: the first of /v1/models)")
    group.add_argument("--text", default="a fine day", help="what predict and embeddings send (default 'a fine day')")
    group.add_argument("--body-file", type=Path, metavar="FILE", help="send this JSON instead")
    group.add_argument("--rows", type=_count, default=1, help="infer: rows in a request (default 1)")
    group.add_argument(
        "--free-size", type=_count, default=16,
        help="infer: size of every open dimension but the first, such as the sequence length (default 16)",
    )  # fmt: skip


def _add_load_flags(group: "argparse._ArgumentGroup") -> None:
    group.add_argument("--clients", type=_clients, default=(), metavar="N,N", help="closed loops (default 1,8,64)")
    group.add_argument("--rates", type=_numbers, default=(), metavar="N,N", help="open loops, in requests a second")
    group.add_argument("--seconds", type=_positive, default=10.0, help="measured time of each load (default 10)")
    group.add_argument(
        "--warmup-seconds", type=_not_negative, default=2.0, help="time before it that does not count (default 2)"
    )
    group.add_argument(
        "--timeout-seconds",
        type=_positive,
        default=30.0,
        help="a request without an answer by then failed (default 30)",
    )
    group.add_argument(
        "--most-connections", type=_count, default=512, help="connections an open loop may use (default 512)"
    )
    group.add_argument("--seed", type=int, default=1, help="of the Poisson arrivals (default 1)")


def _add_objective_flags(group: "argparse._ArgumentGroup") -> None:
    for flag, percent in OBJECTIVES.items():
        group.add_argument(
            f"--{flag}", type=_ObjectiveType(percent), metavar="TIME",
            help=f"{percent:g} %% of the answers come within this time, such as 20ms",
        )  # fmt: skip
    group.add_argument(
        "--max-error-ratio", type=_ratio, metavar="RATIO",
        help="most requests that may go without a 2xx answer, from 0 to 1 (default 0.01 with a time objective)",
    )  # fmt: skip


class _ObjectiveType:
    def __init__(self, percent: float) -> None:
        self._percent = percent

    def __call__(self, text: str) -> Objective:
        try:
            return Objective.parse(text, self._percent)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number")
    return value


def _positive(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not more than 0")
    return value


def _not_negative(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is less than 0")
    return value


def _ratio(text: str) -> float:
    value = _not_negative(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"{text!r} is more than 1; write 0.01 for 1 %")
    return value


def _count(text: str) -> int:
    value = _positive(text)
    if value != int(value) or value > MOST_CLIENTS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {MOST_CLIENTS}")
    return int(value)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _clients(text: str) -> tuple[int, ...]:
    return tuple(_count(part) for part in text.split(","))
