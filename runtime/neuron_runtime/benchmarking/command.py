"""The command `neuron-runtime bench`: arguments in, table and JSON out, exit code by objective. Called by __main__."""

import argparse
import resource
import signal
import sys
from enum import IntEnum

import uvloop

from neuron_runtime.benchmarking import flags, targets
from neuron_runtime.benchmarking.load import closed_loop, open_loop
from neuron_runtime.benchmarking.load_run import Options
from neuron_runtime.benchmarking.measurement import Measurement
from neuron_runtime.benchmarking.progress import ProgressBar
from neuron_runtime.benchmarking.report import Goals, Report, as_json, as_text
from neuron_runtime.benchmarking.targets import Target, TargetError

DEFAULT_ERROR_RATIO = 0.01
_SPARE_DESCRIPTORS = 64
_SIGINT_EXIT = 128 + signal.SIGINT


class Exit(IntEnum):
    """As the help text says."""

    MET = 0
    MISSED = 1
    UNUSABLE = 2
    VOID = 3


def run(argv: list[str]) -> int:
    options = flags.parse(argv)
    try:
        report = _report(options)
        _write(report, options)
    except (TargetError, OSError, ValueError) as error:
        sys.stderr.write(f"neuron-runtime bench: {error}\n")
        return Exit.UNUSABLE
    except KeyboardInterrupt:
        sys.stderr.write("neuron-runtime bench: interrupted\n")
        return _SIGINT_EXIT
    return exit_code(report)


def _report(options: argparse.Namespace) -> Report:
    target = _target(options)
    targets.check(target)
    _allow_descriptors(max([*options.clients, options.most_connections if options.rates else 0]))
    loads = len(options.clients) + len(options.rates)
    bar = ProgressBar((options.warmup_seconds + options.seconds) * loads, is_wanted=not options.quiet)
    try:
        measurements = uvloop.run(_measure(target, options, bar))
    finally:
        bar.clear()
    return Report(target.title, measurements, _goals(options))


def exit_code(report: Report) -> Exit:
    """A void measurement proves neither that an objective is met nor that it is missed."""
    if report.is_void:
        return Exit.VOID
    return Exit.MET if report.is_met else Exit.MISSED


def _target(options: argparse.Namespace) -> Target:
    if options.body_file is not None:
        path = {"predict": "/predict", "embeddings": "/v1/embeddings"}.get(options.api)
        path = path or targets.infer_path(options.model or targets.served_model(options.url))
        return targets.body_target(options.url, path, options.body_file.read_bytes())
    if options.api == "predict":
        return targets.predict_target(options.url, options.text)
    if options.api == "embeddings":
        return targets.embeddings_target(options.url, options.text, options.model)
    return targets.infer_target(options.url, options.model, rows=options.rows, free_size=options.free_size)


def _goals(options: argparse.Namespace) -> Goals:
    given = [getattr(options, flag) for flag in flags.OBJECTIVES]
    objectives = tuple(objective for objective in given if objective is not None)
    ratio = options.max_error_ratio
    if ratio is None and objectives:
        ratio = DEFAULT_ERROR_RATIO
    return Goals(objectives, ratio)


def _allow_descriptors(connections: int) -> None:
    """As many open files as connections need; OSError names the limit when the system allows less."""
    needed = connections + _SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise OSError(f"{connections} connections need {needed} open files, and `ulimit -Hn` is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def _measure(target: Target, options: argparse.Namespace, bar: ProgressBar) -> tuple[Measurement, ...]:
    """Every load, one after the other."""
    each_seconds = options.warmup_seconds + options.seconds
    how = Options(options.timeout_seconds, bar.update)
    measured: list[Measurement] = []
    lasting = {"seconds": options.seconds, "warmup_seconds": options.warmup_seconds}
    for clients in options.clients:
        bar.begin(f"{clients} clients", len(measured) * each_seconds)
        measured.append(await closed_loop(target, clients=clients, **lasting, options=how))
    for rate in options.rates:
        bar.begin(f"{rate:g}/s", len(measured) * each_seconds)
        measured.append(
            await open_loop(
                target,
                rate_per_second=rate,
                **lasting,
                seed=options.seed,
                most_connections=options.most_connections,
                options=how,
            )
        )
    return tuple(measured)


def _write(report: Report, options: argparse.Namespace) -> None:
    to_output = options.json is not None and str(options.json) == "-"
    if to_output:
        sys.stdout.write(as_json(report).decode())
    elif options.json is not None:
        options.json.write_bytes(as_json(report))
    if not options.quiet and not to_output:
        sys.stdout.write(as_text(report))
