"""The thin shell of `simulate-batching`: read arguments, simulate, print."""

import sys
from collections.abc import Sequence

from neuron_runtime.simulating.flags import buckets_of, device_of, limits_of, parse, poisson, read_trace
from neuron_runtime.simulating.report import lines
from neuron_runtime.simulating.simulation import Simulation


def run(argv: Sequence[str]) -> int:
    arguments = parse(argv)
    buckets = buckets_of(arguments.buckets)
    simulation = Simulation(device_of(arguments), buckets, limits_of(arguments))
    if arguments.clients:
        result = simulation.closed_loop(arguments.clients, arguments.seconds)
    elif arguments.rate:
        result = simulation.open_loop(list(poisson(arguments.rate, arguments.seconds, arguments.seed, buckets.forms)))
    else:
        try:
            arrivals = read_trace(arguments.trace, buckets.forms)
        except (OSError, ValueError) as error:
            sys.stderr.write(f"neuron-runtime simulate-batching: {arguments.trace}: {error}\n")
            return 2
        result = simulation.open_loop(arrivals)
    sys.stdout.writelines(f"{line}\n" for line in lines(result, buckets, arguments.show))
    return 0
