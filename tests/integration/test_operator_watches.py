"""Watches that break, lag, lie or fall silent: the operator goes on, and does nothing it would not have done anyway."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from integration.api_client import WAIT_S, Api, has_reason
from integration.conftest import install_crd, run_control_plane
from integration.faulty_proxy import FaultyProxy
from integration.models import model, settled
from local_control_plane import ControlPlane, OperatorProcess
from neuron_operator.watching import LOGIN_PAUSE_S

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ERRORS = "neuron_serving_operator_watch_errors_total"
WRITTEN = ("Deployment", "Service", "PodDisruptionBudget", "ControllerRevision", "status")
# A watch of each kind, six writes, an Event, the probes; the elector's are not counted.
MANY_REQUESTS = 60
PARTITION_S, WATCH_DELAY_S, RETRY_AFTER_S = 60.0, 3.0, 3.0
# The liveness limit is no setting: nobody should have to choose it.
WITH_A_SHORT_PATIENCE = """
import sys
from functools import partial
from neuron_operator import process
process.Health = partial(process.Health, longest_silence_s=3.0)
from neuron_operator.__main__ import main
sys.exit(main(["run"]))
"""
# A reconcile that never ends, of one model; what should end each is the API client's own time limit.
WITH_A_HANG = """
import asyncio, sys
from neuron_operator import health
from neuron_operator.reconcile import Reconciler
health.STUCK_S = 1.0
look = Reconciler.reconcile
async def hang(self, key):
    return await (asyncio.Event().wait() if key.name == "stuck" else look(self, key))
Reconciler.reconcile = hang
from neuron_operator.__main__ import main
sys.exit(main(["run"]))
"""


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """One of their own: these tests count requests, and would count those for what other tests have left behind."""
    yield from run_control_plane(tmp_path_factory.mktemp("watched"))


@pytest.fixture
def proxy(api_server: ControlPlane) -> Iterator[FaultyProxy]:
    install_crd(api_server)
    made = FaultyProxy(api_server.operator_kubeconfig)
    yield made
    made.close()


@pytest.fixture
def stopped(proxy: FaultyProxy, tmp_path: Path) -> Iterator[OperatorProcess]:
    """The operator behind the proxy, to be started by the test."""
    operator = OperatorProcess(proxy.write_kubeconfig(tmp_path / "kubeconfig"), tmp_path / "operator.log")
    yield operator
    if operator.process.poll() is None:
        operator.stop()


@pytest.fixture
def operator(stopped: OperatorProcess) -> OperatorProcess:
    stopped.start()
    return stopped


def failure(code: int, message: str) -> dict[str, Any]:
    return {"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": code, "message": message}}


def probe(operator: OperatorProcess, path: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{operator.health_port}/{path}", timeout=WAIT_S)


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, f"not in {WAIT_S:.0f} s: {what}"
        time.sleep(0.05)


def wait_for_new_watch(proxy: FaultyProxy, plural: str, provoke: Callable[[], None]) -> None:
    def watches() -> int:
        return sum(answer.is_watch for answer in proxy.passed("GET", plural))

    before = watches()
    provoke()
    wait_until(lambda: watches() > before, f"a new watch of {plural}")


def writes_in(control_plane: ControlPlane, namespace: str) -> Counter[str]:
    """How often the operator wrote what, Events apart."""
    refs = [entry["objectRef"] for entry in control_plane.writes_by_operator()]
    return Counter(
        f"{ref['resource']}/{ref['name']}/{ref.get('subresource', '')}"
        for ref in refs
        if ref.get("namespace") == namespace and ref["resource"] != "events"
    )


@pytest.mark.parametrize("plural", ["services", "deployments"])
def test_what_was_deleted_before_a_new_list_is_made_again(
    proxy: FaultyProxy, operator: OperatorProcess, api: Api, plural: str
) -> None:
    settled(api, model())
    uid = api.get(plural, "sentiment")["metadata"]["uid"]
    proxy.silence(plural)
    api.delete(plural, "sentiment")
    proxy.inject(plural, failure(410, "too old resource version"))
    api.wait_for(plural, "sentiment", lambda body: body["metadata"]["uid"] != uid)
    assert operator.metric(ERRORS) == 0


@pytest.mark.parametrize("plural", ["neuronmodels", "pods", "horizontalpodautoscalers"])
def test_an_error_in_a_watch_starts_that_watch_again_and_nothing_else(
    proxy: FaultyProxy, operator: OperatorProcess, api: Api, plural: str
) -> None:
    lists = len(proxy.passed("GET", "nodes"))
    for _ in range(3):
        wait_for_new_watch(proxy, plural, lambda: proxy.inject(plural, failure(500, "etcd lost")))
    settled(api, model())
    assert operator.metric(ERRORS) == 3
    assert len(proxy.passed("GET", "nodes")) == lists
    assert operator.process.poll() is None
    assert operator.log.read_text().count("etcd lost") == 3


def test_a_process_is_ready_once_every_first_list_has_come_and_not_before(
    proxy: FaultyProxy, stopped: OperatorProcess
) -> None:
    refusals = proxy.refuse("GET", "pods", 500, times=1_000_000)
    with ThreadPoolExecutor(max_workers=1) as pool:
        starting = pool.submit(stopped.start)
        try:
            listed = ("neuronmodels", "nodes", "leases", "horizontalpodautoscalers", "services")
            wait_until(lambda: all(proxy.passed("GET", p) for p in (*listed, "pods")), "a list of each kind")
            wait_until(lambda: probe(stopped, "readyz").text.endswith("first lists yet: Pod"), "waiting for pods alone")
            assert probe(stopped, "readyz").status_code == 503
            assert not starting.done()
        finally:
            refusals.left = 0
        starting.result(timeout=WAIT_S)


def test_liveness_fails_when_the_watch_misses_renewals_that_the_api_server_knows(
    proxy: FaultyProxy, stopped: OperatorProcess
) -> None:
    stopped.program = ("-c", WITH_A_SHORT_PATIENCE)
    stopped.start()
    assert probe(stopped, "healthz").status_code == 200
    proxy.silence("leases")
    wait_until(lambda: probe(stopped, "healthz").status_code == 503, "a failed liveness")
    assert "the watch of our Lease is silent" in probe(stopped, "healthz").text
    proxy.unsilence("leases")
    wait_until(lambda: probe(stopped, "healthz").status_code == 200, "liveness again")


def test_liveness_fails_when_a_model_is_stuck_while_the_api_server_answers(
    proxy: FaultyProxy, stopped: OperatorProcess, api: Api
) -> None:
    stopped.program = ("-c", WITH_A_HANG)
    stopped.start()
    settled(api, model())
    assert probe(stopped, "healthz").status_code == 200
    api.create("neuronmodels", model("stuck"))
    wait_until(lambda: probe(stopped, "healthz").status_code == 503, "a failed liveness")
    assert "although the API server answers" in probe(stopped, "healthz").text
    proxy.cut()
    assert probe(stopped, "healthz").status_code == 200
    stopped.kill()


def test_watches_that_lag_cause_no_write_twice(
    api_server: ControlPlane, proxy: FaultyProxy, operator: OperatorProcess, api: Api
) -> None:
    proxy.delay_watches(WATCH_DELAY_S)
    names = [f"model-{index}" for index in range(3)]
    for name in names:
        settled(api, model(name))
    api.merge("neuronmodels", names[0], {"spec": {"replicas": 5}})
    api.wait_for("neuronmodels", names[0], has_reason("Progressing"))
    # By the time that a watch tells of this one, it has told of all that was before.
    settled(api, model("last"))
    writes = writes_in(api_server, api.namespace)
    changed = {f"deployments/{names[0]}/", f"neuronmodels/{names[0]}/status"}
    assert {name: count for name, count in writes.items() if count != 1} == dict.fromkeys(changed, 2)
    assert len(writes) == len(WRITTEN) * len([*names, "last"])
    assert len(api.every("deployments")) == len([*names, "last"])


@pytest.mark.parametrize(
    ("method", "plural"), [pytest.param("PATCH", "deployments", id="a-write"), pytest.param("GET", "pods", id="a-list")]
)
def test_a_refused_request_is_made_again_no_sooner_than_the_api_server_said(
    proxy: FaultyProxy, operator: OperatorProcess, api: Api, method: str, plural: str
) -> None:
    refusals = proxy.refuse(method, plural, 429, 1, Retry_After=f"{RETRY_AFTER_S:.0f}")
    if method == "GET":
        proxy.inject(plural, failure(410, "too old resource version"))
    settled(api, model())
    wait_until(lambda: refusals.left == 0 and proxy.passed(method, plural)[-1].status < 300, "an answer")
    answers = proxy.passed(method, plural)
    refused = next(index for index, answer in enumerate(answers) if answer.status == 429)
    assert answers[refused + 1].at_s - answers[refused].at_s >= RETRY_AFTER_S


def test_three_server_errors_and_a_dropped_watch_are_survived(
    api_server: ControlPlane, proxy: FaultyProxy, operator: OperatorProcess, api: Api
) -> None:
    refusals = [proxy.refuse("PATCH", plural, 500, 3) for plural in ("deployments", "status")]
    proxy.drop_watches()
    settled(api, model())
    assert [refusal.left for refusal in refusals] == [0, 0]
    assert set(writes_in(api_server, api.namespace).values()) == {1}


def test_a_partition_is_waited_out_alive_and_healed_without_a_storm(
    api_server: ControlPlane, proxy: FaultyProxy, operator: OperatorProcess, api: Api
) -> None:
    settled(api, model("before"))
    proxy.cut()
    until = time.monotonic() + PARTITION_S
    api.create("neuronmodels", model("meanwhile"))
    assert probe(operator, "readyz").status_code == 503
    while time.monotonic() < until:
        assert probe(operator, "healthz").status_code == 200
        time.sleep(0.1)
    healed_s = proxy.now_s()
    proxy.heal()
    api.wait_for("neuronmodels", "meanwhile", has_reason("Progressing"))
    wait_until(lambda: probe(operator, "readyz").status_code == 200, "ready again")
    requests = Counter(p.path for p in proxy.passed_since(healed_s) if "leases" not in p.path)
    assert sum(requests.values()) < MANY_REQUESTS, requests
    writes = writes_in(api_server, api.namespace)
    assert len(writes) == len(WRITTEN) * len(["before", "meanwhile"])
    assert set(writes.values()) == {1}


def test_an_api_server_that_is_killed_in_the_middle_and_comes_back_is_waited_for(
    api_server: ControlPlane, api: Api, tmp_path: Path
) -> None:
    install_crd(api_server)
    operator = OperatorProcess(api_server.operator_kubeconfig, tmp_path / "operator.log")
    operator.start()
    try:
        settled(api, model("before"))
        api.create("neuronmodels", model("meanwhile"))
        api_server.kill_api_server()
        wait_until(lambda: probe(operator, "readyz").status_code == 503, "not ready any more")
        assert probe(operator, "healthz").status_code == 200
        position = api_server.audit_position()
        api_server.start_api_server()
        api.wait_for("neuronmodels", "meanwhile", has_reason("Progressing"))
        wait_until(lambda: probe(operator, "readyz").status_code == 200, "ready again")
    finally:
        operator.stop()
    asked = Counter(
        (entry["verb"], entry["objectRef"]["resource"])
        for entry in api_server.requests_by_operator(position)
        if entry.get("objectRef", {}).get("resource") != "leases" and "objectRef" in entry
    )
    assert sum(asked.values()) < MANY_REQUESTS, asked
    for plural in ("deployments", "services", "poddisruptionbudgets", "controllerrevisions"):
        assert len(api.every(plural)) == len(["before", "meanwhile"])
    # What it was killed in may be stored and not in its log, or in its log and not stored.
    writes = writes_in(api_server, api.namespace)
    assert {name: count for name, count in writes.items() if count > 1 and "before" in name} == {}
    assert max(writes.values()) <= 2


def test_a_refused_login_is_repeated_without_haste_and_survived(
    proxy: FaultyProxy, operator: OperatorProcess, api: Api
) -> None:
    refusals = proxy.refuse("GET", "pods", 401, 3)
    proxy.inject("pods", failure(410, "too old resource version"))
    wait_until(lambda: refusals.left == 0 and proxy.passed("GET", "pods")[-1].status == 200, "a list")
    settled(api, model())
    refused = [answer.at_s for answer in proxy.passed("GET", "pods") if answer.status == 401]
    # Between the logins it is the whole pause; requests take time of their own.
    assert refused[2] - refused[1] >= LOGIN_PAUSE_S / 2
    assert operator.process.poll() is None
