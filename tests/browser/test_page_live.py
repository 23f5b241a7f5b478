"""The page at / in real headless Chromium: live figures, and a server that goes, comes back, drains or is silent."""

import re
import signal

import pytest
from playwright.sync_api import Page, Route, expect

from browser.pages import SIMULATED, ServerOf, Visit, send
from neuron_runtime.monitor_report import UTILIZATION
from runtime_server import ready

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_a_server_that_goes_is_missed_and_one_that_comes_back_is_seen(visit: Visit) -> None:
    with ready(*SIMULATED) as server:
        page = visit(server)
        expect(page.locator("#state")).to_have_text("Ready")
        expect(page.get_by_role("alert")).to_be_hidden()
        server.process.kill()
        server.process.wait()
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        expect(page.locator("#state")).to_have_text("No answer")
        expect(send(page).locator(".error")).to_contain_text("The server gave no answer")
    with ready(*SIMULATED, "--port", server.url.rpartition(":")[2]):
        expect(page.locator("#state")).to_have_text("Ready")
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(send(page).locator("pre").first).to_contain_text('"data": [0, 0, 0, 0]')


def test_a_server_that_drains_is_not_ready_and_says_why(visit: Visit) -> None:
    with ready(*SIMULATED, "--drain-seconds", "600") as server:
        page = visit(server)
        expect(page.locator("#state")).to_have_text("Ready")
        server.process.send_signal(signal.SIGTERM)
        expect(page.locator("#state")).to_have_text("Not ready: draining: the pod is shutting down")


def test_the_figures_follow_the_requests(visit: Visit) -> None:
    with ready(*SIMULATED) as server, server.client() as client:
        page = visit(server)
        expect(page.locator("#workers")).to_have_text("2 ready")
        expect(page.locator("#queue")).to_have_text(re.compile(r"^0 of \d+$"))
        expect(page.locator("#rate")).to_have_text("0")
        expect(page.locator("#p99")).not_to_have_text(re.compile(r"\d"))
        expect(page.locator("#refused")).to_have_text("none")

        body = {"inputs": [{"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [0] * 16}]}
        assert {client.post("/v2/models/simulated/infer", json=body).status_code for _ in range(30)} == {200}
        assert client.post("/v2/models/simulated/infer", json={}).status_code == 400

        expect(page.locator("#rate")).to_have_text(re.compile(r"^(?!0$)[\d.,]+$"))
        expect(page.locator("#p50")).to_have_text(re.compile(r"^[\d.,]+ ms$"))
        expect(page.locator("#p99")).to_have_text(re.compile(r"^[\d.,]+ ms$"))
        expect(page.locator("#refused")).to_have_text("1 invalid")
        heights = {point.split(",")[1] for point in (page.locator("#line").get_attribute("points") or "").split()}
        assert len(heights) > 1


def test_the_use_of_each_core_is_shown_where_neuron_monitor_tells_it(server_of: ServerOf, visit: Visit) -> None:
    def with_cores(route: Route) -> None:
        rows = []
        for core, share in ((0, 0.64), (1, 0.005)):
            labels = ",".join(f'{label}="{core}"' for label in UTILIZATION.labels)
            rows.append(f"{UTILIZATION.scraped_name}{{{labels}}} {share}\n")
        reply = route.fetch()
        route.fulfill(response=reply, body=reply.text() + "".join(rows))

    page = visit(server_of("Tensor"), lambda page: page.route("**/metrics", with_cores))
    expect(page.locator("#cores > div")).to_have_text(["Core 064.0 %", "Core 10.5 %"])
    page.unroute_all(behavior="ignoreErrors")


def test_a_page_that_nobody_looks_at_asks_nothing(server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of("Tensor"), lambda page: page.clock.install())
    expect(page.locator("#state")).to_have_text("Ready")
    change = "is => { Object.defineProperty(document, 'hidden', { value: is, configurable: true });"
    change += " document.dispatchEvent(new Event('visibilitychange')); }"
    page.evaluate(change, arg=True)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.clock.run_for(60_000)
    page.evaluate("fetch('health')")  # whatever came before is seen before this
    assert [url.rpartition("/")[2] for url in asked] == ["health"]

    with page.expect_request("**/metrics"):
        page.evaluate(change, arg=False)


def test_a_server_that_does_not_answer_is_asked_less_and_less(server_of: ServerOf, visit: Visit) -> None:
    asked: list[str] = []

    def refuse(page: Page) -> None:
        page.clock.install()
        page.on("request", lambda request: asked.append(request.url) if "/metrics" in request.url else None)
        page.route("**/metrics", lambda route: route.abort())

    page = visit(server_of("Tensor"), refuse)
    expect(page.get_by_role("alert")).to_be_visible()
    for _ in range(60):
        page.clock.run_for(1000)
        page.evaluate("fetch('health')")
    # At 0, 4, 12, 28, 58 seconds, and more on a machine where this takes minutes; without growing pauses, 30 times.
    assert 2 <= len(asked) <= 12

    with page.expect_request("**/metrics"):
        page.get_by_role("button", name="Try now").click()
