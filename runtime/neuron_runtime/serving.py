"""`neuron-runtime serve` from start to exit: assemble, load, be ready, drain. The composition root; no rule lives here.

Order: signal handlers first (a pod may be told to go while it loads), then the listener, so that probes are answered
from the beginning, then the workers. Whatever ends the process early is written as the termination message.
"""

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry, disable_created_metrics

from neuron_runtime import __version__, logs
from neuron_runtime.admission import Admission, capacity_rows
from neuron_runtime.artifacts import Bundle, load_bundle
from neuron_runtime.batcher import Batcher, BatchLimits
from neuron_runtime.benchmark_rows import DeviceRow, find_row
from neuron_runtime.cores import choose_cores, process_tag_prefix, worker_environment
from neuron_runtime.device_fit import check_fit, compiled
from neuron_runtime.engines.simulated import simulated_model
from neuron_runtime.errors import NotReadyError
from neuron_runtime.fetching.record import read_record
from neuron_runtime.http_server import bind, make_server
from neuron_runtime.messages import Program, Start
from neuron_runtime.metrics import Metrics
from neuron_runtime.neuron_monitor import NeuronMonitor
from neuron_runtime.pool import Pool
from neuron_runtime.routes import Routes
from neuron_runtime.served_model import ServedModel, from_manifest
from neuron_runtime.service import Service
from neuron_runtime.settings import ENV_PREFIX, ServeSettings
from neuron_runtime.termination import FatalError, TerminationMessage
from neuron_runtime.tokens import TextEncoder
from neuron_runtime.visible_cores import find_visible_cores
from neuron_runtime.worker_process import Deadlines

log = logging.getLogger("neuron_runtime.serving")

DEFAULT_IN_FLIGHT = 2
COLLECTED_OBJECTS = 20_000
SIMULATED_CORES = 2
DEFAULT_SIMULATED_BATCH = 8


def run(argv: Sequence[str]) -> int:
    """The command's entry; its exit code."""
    message_path = Path(os.environ.get(f"{ENV_PREFIX}TERMINATION_MESSAGE_PATH", "/dev/termination-log"))
    logs.set_up("info")
    without_created_series: Callable[[], None] = disable_created_metrics  # it carries no annotations
    without_created_series()
    try:
        settings = ServeSettings.load(argv)
        message_path = settings.termination_message_path
        logs.set_up(settings.log_level, logs.WaitingLines(sys.stderr.fileno()))
        uvloop.run(serve(settings, os.environ))
    except FatalError as error:
        facts = {"reason": str(error.reason), "hint": error.hint, "details": error.details}
        log.error(error.message, extra=facts)
        TerminationMessage.from_error(error).write(message_path)
        return 1
    return 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be run: the model, its bundle, and the cores."""

    model: ServedModel
    bundle: Bundle | None
    cores: tuple[int, ...]
    in_flight: int
    options: Mapping[str, float]


async def serve(settings: ServeSettings, environment: Mapping[str, str]) -> None:
    """Serve until told to stop; FatalError when that is not possible."""
    stop, hurry = asyncio.Event(), asyncio.Event()
    _on_signals(stop, hurry)
    plan = await make_plan(settings, environment)
    if stop.is_set():
        return
    listener = bind(settings)
    service, monitor = assemble(settings, plan, environment)
    server = make_server(Routes(service), settings, service.metrics)
    serving = asyncio.create_task(server.serve([listener]))
    monitoring = asyncio.create_task(monitor.run()) if monitor else None
    service.pool.start(service.batcher)
    _spare_the_collector()
    log.info("listening", extra={"port": listener.getsockname()[1], "model": plan.model.name})
    try:
        await _until_over(service, stop, hurry)
    finally:
        service.is_draining = True
        server.should_exit = True
        await serving
        await service.pool.stop()
        if monitoring is not None:
            monitoring.cancel()
            await asyncio.gather(monitoring, return_exceptions=True)
    log.info("stopped")


def _spare_the_collector() -> None:
    """What is here now stays until the end: a full collection that walked it would stop every request for
    milliseconds. A request leaves few cycles behind, so looking for them less often costs next to no memory."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECTED_OBJECTS)


async def _until_over(service: Service, stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """Until the drain is over; FatalError when the pool has failed, drained too if some of its workers have not."""
    told = asyncio.create_task(stop.wait())
    ends: set[asyncio.Future[Any]] = {told, service.pool.failed}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    error = service.pool.failed.result() if service.pool.failed.done() else None
    service.is_draining = True
    was_ready = service.pool.ready_count() > 0
    log.info(
        "draining", extra={"seconds": service.settings.drain_seconds, "runningBatches": service.batcher.running_batches}
    )
    if was_ready:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), service.settings.drain_seconds)
    if error is not None:
        if not service.pool.ready_count():
            service.batcher.refuse_all(NotReadyError(f"the model cannot be served any more: {error.message}"))
        raise error


def _on_signals(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    """The first SIGTERM (or Ctrl-C) starts the drain, the second ends it."""

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)


async def make_plan(settings: ServeSettings, environment: Mapping[str, str]) -> Plan:
    """What the settings and the machine amount to; FatalError says what does not fit."""
    if settings.engine == "simulated":
        return _simulated_plan(settings)
    bundle = await asyncio.to_thread(load_bundle, settings.bundle, verify=settings.verify)
    model = from_manifest(bundle.manifest, settings.engine, settings.model_name, settings.max_batch_size)
    check_fit(bundle.manifest, settings.engine, model.buckets)
    bundle = dataclasses.replace(bundle, manifest=bundle.manifest.model_copy(update={"buckets": model.buckets}))
    if settings.engine == "torch_neuronx":
        cores = choose_cores(await find_visible_cores(environment), settings.cores)
    else:
        cores = tuple(range(settings.cores or 1))
    return Plan(model, bundle, cores, settings.in_flight or DEFAULT_IN_FLIGHT, {})


def _simulated_plan(settings: ServeSettings) -> Plan:
    row = find_row(settings.simulated_row) if settings.simulated_row else None
    row = row or DeviceRow(
        name="settings",
        cores=SIMULATED_CORES,
        in_flight=DEFAULT_IN_FLIGHT,
        batch_size=DEFAULT_SIMULATED_BATCH,
        service_seconds=settings.simulated_service_ms / 1000,
    )
    model = simulated_model(settings.model_name, settings.max_batch_size or row.batch_size)
    cores = tuple(range(settings.cores or row.cores))
    return Plan(model, None, cores, settings.in_flight or row.in_flight, {"service_seconds": row.service_seconds})


def assemble(
    settings: ServeSettings, plan: Plan, environment: Mapping[str, str]
) -> tuple[Service, NeuronMonitor | None]:
    """Every part, connected; nothing started."""
    metrics = Metrics(CollectorRegistry())
    tag_prefix = process_tag_prefix(environment, plan.model.name, os.getpid())
    on_neuron = settings.engine == "torch_neuronx"
    environments = {
        str(core): worker_environment(environment, core if on_neuron else None, f"{tag_prefix}nc{core}")
        for core in plan.cores
    }
    deadlines = Deadlines(loading=settings.load_timeout_seconds, executing=settings.execution_timeout_seconds)
    pool = Pool(_start_message(settings, plan), environments, deadlines, metrics, settings.degraded_exit_seconds)
    limits = BatchLimits(plan.in_flight, settings.batch_window_microseconds / 1e6, settings.refuse_payload_seconds)
    batcher = Batcher(plan.model, pool, metrics, limits)
    batch_rows = plan.model.largest_batch_size * len(plan.cores)
    capacity = capacity_rows(
        settings.queue_capacity_rows, batch_rows, plan.model.largest_row_bytes, settings.queue_capacity_bytes
    )
    service = Service(
        settings=settings,
        model=plan.model,
        admission=Admission(capacity, settings.max_rows_per_request, batcher.seconds_per_row),
        batcher=batcher,
        pool=pool,
        metrics=metrics,
        encoder=TextEncoder.from_bundle(plan.bundle) if plan.bundle and plan.model.text else None,
        created=int(datetime.now(UTC).timestamp()),
    )
    _connect_metrics(service, plan)
    wants_monitor = on_neuron and settings.neuron_monitor == "auto"
    return service, NeuronMonitor(tag_prefix, environment, metrics) if wants_monitor else None


def _connect_metrics(service: Service, plan: Plan) -> None:
    metrics = service.metrics
    metrics.watch_workers(service.pool.states, lambda: service.readiness().is_ready)
    metrics.payloads_refused.set_function(lambda: service.batcher.refused_payloads)
    metrics.queue_rows.set_function(lambda: service.admission.waiting_rows)
    metrics.queue_capacity_rows.set(service.admission.capacity_rows)
    if plan.bundle is not None:
        metrics.artifact_bytes.set(plan.bundle.manifest.total_bytes)
        record = read_record(plan.bundle.directory)
        if record is not None and record.digest == plan.bundle.digest:
            metrics.fetch_seconds.set(record.seconds)
    metrics.build.info(
        {
            "version": __version__,
            "engine": service.settings.engine,
            "model": plan.model.name,
            "model_version": plan.model.version,
            "digest": plan.bundle.digest if plan.bundle else "",
        }
    )


def _start_message(settings: ServeSettings, plan: Plan) -> Start:
    model = plan.model
    return Start(
        engine=settings.engine,
        bundle=str(settings.bundle),
        input_datatypes=[spec.datatype for spec in model.inputs],
        output_datatypes=[spec.datatype for spec in model.outputs],
        programs=[Program(bucket.file, list(bucket.shapes.values())) for bucket in model.buckets],
        pad_values=[model.pad_values.get(spec.name, 0) for spec in model.inputs],
        in_flight=plan.in_flight,
        options=plan.options,
        compiled=compiled(plan.bundle.manifest) if plan.bundle else "",
    )
