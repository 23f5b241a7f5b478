"""neuron-monitor beside a real server on an emulated node, in every way in which it goes wrong: inference goes on,
/metrics says what is known and why there is no more, and the next good report heals it.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from emulator.faults import set_monitor_mode
from neuron_node import doubler_bundle, neighbor, node_environment
from neuron_runtime.metrics import Metrics
from neuron_runtime.neuron_monitor import NeuronMonitor, Pace
from runtime_server import RunningServer, ready, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

NODE_NAME = "i-0123456789abcdef0.eu-west-1.compute.internal"
PREFIX = "ml/doubler-0/doubler/"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return doubler_bundle(tmp_path_factory.mktemp("bundle"), tmp_path_factory.mktemp("compile"))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def server(bundle: Path, state: Path) -> Iterator[RunningServer]:
    """One core, neuron-monitor as it is; tests leave it reporting."""
    pod = {"NODE_NAME": NODE_NAME, "INSTANCE_TYPE": "inf2.8xlarge", "NEURON_RT_VISIBLE_CORES": "0"}
    environment = node_environment(state, **pod)
    with ready("--engine", "torch_neuronx", "--bundle", str(bundle), environment=environment) as running:
        yield running


@pytest.fixture(autouse=True)
def healed(request: pytest.FixtureRequest, state: Path) -> Iterator[None]:
    yield
    set_monitor_mode(state, "own")


def answers(server: RunningServer) -> bool:
    tensor = {"name": "values", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
    with server.client() as client:
        answer = client.post("/v2/models/doubler/infer", json={"inputs": [tensor]})
    return answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [2, 4, 6]


def page_of(server: RunningServer) -> str:
    with server.client() as client:
        return client.get("/metrics").text


def hardware_row(server: RunningServer) -> str:
    return next((line for line in page_of(server).splitlines() if line.startswith("neuron_hardware_info{")), "")


def is_up(server: RunningServer) -> bool:
    return server.metric("neuron_monitor_up") == 1


def monitors_of(server: RunningServer) -> list[int]:
    children = psutil.Process(server.process.pid).children()
    return [child.pid for child in children if any("neuron-monitor" in word for word in child.cmdline())]


def test_our_executions_are_counted_under_the_official_names(server: RunningServer) -> None:
    assert answers(server)
    wait_until(lambda: is_up(server) and server.metric("execution_status_total") >= 1)

    page = page_of(server)
    (row,) = re.findall(r"^neuroncore_utilization_ratio\{(.*)\} ", page, re.MULTILINE)
    assert f'runtime_tag="{PREFIX}nc0"' in row
    assert 'neuroncore="0"' in row


def test_the_instances_labels_come_from_the_pod_where_metadata_is_closed(server: RunningServer, state: Path) -> None:
    wait_until(lambda: 'instance_id="i-emulated",' in hardware_row(server))
    set_monitor_mode(state, "no-metadata")
    wait_until(lambda: 'instance_id="i-0123456789abcdef0",' in hardware_row(server))

    row = hardware_row(server)
    assert f'instance_name="{NODE_NAME}"' in row
    assert 'region="eu-west-1"' in row
    assert 'instance_type="inf2.8xlarge"' in row


def test_neighbors_on_the_chip_are_not_ours(server: RunningServer, state: Path) -> None:
    set_monitor_mode(state, "neighbors")
    before = server.metric("execution_status_total")
    with neighbor(state) as execute:
        execute()
        assert answers(server)
        wait_until(lambda: server.metric("execution_status_total") > before)

        assert "doubler-1" not in page_of(server)
        assert is_up(server)


@pytest.mark.parametrize(
    ("mode", "metric"),
    [
        ("garbage", "neuron_monitor_unreadable_lines_total"),
        ("enormous", "neuron_monitor_unreadable_lines_total"),
        ("dying", "neuron_monitor_restarts_total"),
        ("nonsense", "neuron_monitor_restarts_total"),
        ("newer-schema", "neuron_monitor_schema_differences_total"),
    ],
)
def test_trouble_is_counted_while_inference_goes_on_and_heals(
    server: RunningServer, state: Path, mode: str, metric: str
) -> None:
    before = server.metric(metric)
    set_monitor_mode(state, mode)
    wait_until(lambda: server.metric(metric) > before, 100)
    assert answers(server)

    set_monitor_mode(state, "own")
    counted = server.metric("execution_status_total")
    wait_until(lambda: answers(server) and server.metric("execution_status_total") > counted, 100)
    assert is_up(server)


def test_an_old_schema_differs_in_nothing_we_read(server: RunningServer, state: Path) -> None:
    set_monitor_mode(state, "older-schema")
    counted, before = server.metric("execution_status_total"), server.metric("neuron_monitor_schema_differences_total")
    wait_until(lambda: answers(server) and server.metric("execution_status_total") > counted)

    assert server.metric("neuron_monitor_schema_differences_total") == before


def test_a_monitor_that_hangs_is_down_killed_and_replaced(server: RunningServer, state: Path) -> None:
    """The one test that waits out the real 30 seconds."""
    wait_until(lambda: len(monitors_of(server)) == 1)
    (hung,) = monitors_of(server)
    set_monitor_mode(state, "hanging")
    wait_until(lambda: psutil.Process(hung).status() == psutil.STATUS_STOPPED)
    set_monitor_mode(state, "own")
    assert answers(server)
    wait_until(lambda: "neuron-monitor hung" in "\n".join(server.lines), 100)

    wait_until(lambda: is_up(server), 100)
    assert not psutil.pid_exists(hung)
    assert answers(server)


@pytest.mark.usefixtures("server")
def test_switched_off_it_is_neither_started_nor_shown(bundle: Path, state: Path) -> None:
    environment = node_environment(state, NEURON_RT_VISIBLE_CORES="1")
    flags = ("--engine", "torch_neuronx", "--bundle", str(bundle), "--neuron-monitor", "off")
    with ready(*flags, environment=environment) as quiet:
        assert answers(quiet)
        page = page_of(quiet)

        assert monitors_of(quiet) == []
    assert "neuron_monitor_up" not in page
    assert "execution_status" not in page


@asynccontextmanager
async def monitored(state: Path, mode: str, pace: Pace, **environment: str) -> AsyncIterator[Metrics]:
    """The real child without a server around it."""
    metrics = Metrics(CollectorRegistry())
    variables = node_environment(state, NEURON_EMULATOR_MONITOR=mode, **environment)
    task = asyncio.create_task(NeuronMonitor(PREFIX, variables, metrics, pace).run())
    try:
        yield metrics
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def until_scraped(metrics: Metrics, wanted: str) -> None:
    for _ in range(2000):
        page = (await asyncio.to_thread(generate_latest, metrics.registry)).decode()
        if wanted in page:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{wanted!r} never came up in:\n{page}")


async def test_a_silent_one_is_taken_for_hung(tmp_path: Path) -> None:
    async with monitored(tmp_path, "silent", Pace(silence_seconds=4.0)) as metrics:
        await until_scraped(metrics, 'neuron_monitor_up{reason="neuron-monitor hung: no report for 4 s"} 0.0')


async def test_a_blind_one_says_that_it_sees_none_of_our_workers(tmp_path: Path) -> None:
    async with monitored(tmp_path, "blind", Pace()) as metrics:
        await until_scraped(metrics, 'reason="neuron-monitor reports none of this pod\'s workers"} 0.0')

        assert metrics.monitor_restarts.value == 0


async def test_a_machine_without_the_tools_says_so(tmp_path: Path) -> None:
    async with monitored(tmp_path, "own", Pace(), PATH=str(Path(sys.executable).parent)) as metrics:
        await until_scraped(metrics, 'reason="neuron-monitor is not installed in this container"} 0.0')
