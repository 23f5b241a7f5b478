"""The page at / in real headless Chromium, before real servers: each task's form, the live figures, a server that goes
and comes back, the keyboard, both color schemes, narrow screens.

Whatever a test does, the page asks nobody but its server, and the console stays free of errors.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, Page, Route, ViewportSize, expect, sync_playwright

from image_files import file_of, plain
from neuron_runtime.monitor_report import UTILIZATION
from runtime_builders import image_bundle, tensor_bundle, text_bundle
from runtime_server import RunningServer, ready

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

WAIT_MS = 60_000
NARROW: ViewportSize = {"width": 320, "height": 640}
BAD, GOOD = "<img src=x onerror=alert(1)>", "<b>good</b> & 'so'"
OUTPUT = "</script><script>alert(2)</script>"
SIMULATED = ("--engine", "simulated", "--simulated-service-ms", "1")
IMAGE: Any = {"name": "it's green.png", "mimeType": "image/png", "buffer": file_of(plain(12, 12, (0, 255, 0)))}
TASKS = ("TextClassification", "TextEmbedding", "ImageClassification", "Tensor")

# Of every element with text of its own that is shown: its text, and its color and the nearest background behind it.
COLORS = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const behind = (at) => { const found = parts(getComputedStyle(at).backgroundColor);
    return found.length === 4 && found[3] === 0 && at.parentElement ? behind(at.parentElement) : found; };
  const texts = (at) => [...at.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data);
  const own = (at) => at.matches("textarea, input") ? at.value : texts(at).join("");
  return [...document.body.querySelectorAll("*")]
    .filter((at) => at.checkVisibility() && own(at).trim())
    .map((at) => [own(at).trim(), parts(getComputedStyle(at).color), behind(at)]);
}"""


def flags_of(task: str, folder: Path) -> list[str]:
    if task == "ImageClassification":
        bundle = image_bundle(folder)
    elif task == "Tensor":
        bundle = tensor_bundle(folder)
    else:
        bundle = text_bundle(folder, task)
    if task == "TextClassification":
        manifest = json.loads((bundle / "model.json").read_text())
        manifest["classification"]["labels"] = [BAD, GOOD]
        manifest["outputs"][0]["name"] = OUTPUT
        (bundle / "model.json").write_text(json.dumps(manifest))
    return ["--engine", "cpu", "--bundle", str(bundle)]


ServerOf = Callable[[str], RunningServer]
Visit = Callable[..., Page]
Launch = Callable[..., Browser]


@pytest.fixture(scope="module")
def server_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerOf]:
    """A server for each task, started when first asked for."""
    running: dict[str, RunningServer] = {}
    with ExitStack() as stack:

        def server_of(task: str) -> RunningServer:
            if task not in running:
                flags = flags_of(task, tmp_path_factory.mktemp(task))
                running[task] = stack.enter_context(ready(*flags))
            return running[task]

        yield server_of


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    """Starts the distribution's Chromium with further options."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: `python -m cluster build` installs it (make integration does)"
    expect.set_options(timeout=WAIT_MS)
    options = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        yield lambda *more: playwright.chromium.launch(executable_path=program, args=[*options, *more], timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser(launch: Launch) -> Iterator[Browser]:
    browser = launch()
    yield browser
    browser.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens the page of a server, in a context with the given options; at the end, looks at what it did."""
    asked: list[str] = []
    said: list[str] = []
    origins: list[str] = []
    with ExitStack() as stack:

        def visit(server: RunningServer, prepare: Callable[[Page], object] = lambda _: None, **options: Any) -> Page:
            context = stack.enter_context(browser.new_context(base_url=server.url, **options))
            context.set_default_timeout(WAIT_MS)
            origins.append(server.url)
            page = context.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            prepare(page)
            page.goto("/")
            return page

        yield visit
    assert [url for url in asked if not url.startswith((*(f"{origin}/" for origin in origins), "blob:", "data:"))] == []
    # What the browser itself notes of an answer other than 200, or of none.
    assert [text for text in said if not text.startswith("Failed to load resource")] == []


def send(page: Page) -> Locator:
    page.get_by_role("button", name="Send").click()
    return settled(page)


def settled(page: Page) -> Locator:
    """The answer once it is there."""
    answer = page.get_by_role("region", name="Answer")
    expect(answer).to_have_attribute("aria-busy", "false")
    return answer


def ask_anything(page: Page, task: str) -> Locator:
    if task == "ImageClassification":
        page.get_by_label("Choose an image").set_input_files(IMAGE)
    answer = send(page)
    page.get_by_text("The same with curl").click()
    return answer


# Each task


def test_a_text_is_classified_with_every_label_s_share(server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of("TextClassification"))
    page.get_by_role("textbox", name="Text").fill("good day good night")
    answer = send(page)

    expect(answer.locator(".first")).to_have_text(f"{GOOD}, 98.2 %")
    expect(answer.locator(".scores li")).to_have_text([f"{GOOD}98.2 %", f"{BAD}1.8 %"])
    shares = answer.locator(".scores i").evaluate_all("bars => bars.map(bar => bar.style.width)")
    assert [round(float(share.rstrip("%")), 1) for share in shares] == [98.2, 1.8]


def test_two_texts_are_compared_by_their_vectors(server_of: ServerOf, visit: Visit) -> None:
    server = server_of("TextEmbedding")
    with server.client() as client:
        reply = client.post("/v1/embeddings", json={"input": ["good day", "crash hang"]}).json()
    one, other = (np.array(row["embedding"]) for row in reply["data"])
    page = visit(server)
    page.get_by_label("First text").fill("good day")
    page.get_by_label("Second text").fill("crash hang")
    answer = send(page)

    expect(answer.locator(".first")).to_have_text(f"Cosine similarity {one @ other:.4f}")
    expect(answer).to_contain_text("8 dimensions, 4 tokens in all")
    expect(answer).to_contain_text("  ".join(f"{value:.4f}" for value in one[:6]))

    page.get_by_label("Second text").fill("good day")
    expect(send(page).locator(".first")).to_have_text("Cosine similarity 1.0000")


def test_an_image_is_shown_and_classified(server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of("ImageClassification"))
    page.get_by_label("Choose an image").set_input_files(IMAGE)

    expect(page.get_by_alt_text("The chosen image")).to_have_js_property("naturalWidth", 12)
    expect(send(page).locator(".first")).to_have_text("green, 100 %")


def test_an_image_can_be_dropped(server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of("ImageClassification"))
    dropped = page.evaluate_handle(
        """bytes => { const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "a.png", { type: "image/png" })); return data; }""",
        list(IMAGE["buffer"]),
    )
    page.locator(".drop").dispatch_event("drop", {"dataTransfer": dropped})

    expect(page.get_by_alt_text("The chosen image")).to_be_visible()
    expect(send(page).locator(".first")).to_have_text("green, 100 %")


def test_a_tensor_request_is_ready_to_be_sent_and_edited(server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of("Tensor"))
    expect(send(page).locator("pre").first).to_contain_text('"data": [0, 0, 0]')

    editor = page.get_by_label("Request")
    editor.fill(editor.input_value().replace("[0, 0, 0]", "[1, 2, 3.5]"))
    expect(send(page).locator("pre").first).to_contain_text('"data": [2, 4, 7]')


def altered(facts: str, other: str) -> Callable[[Page], object]:
    """The page as it would be for another model: what its script is told is changed on the way."""

    def alter(route: Route) -> None:
        reply = route.fetch()
        assert facts in reply.text()
        route.fulfill(response=reply, body=reply.text().replace(facts, other))

    return lambda page: page.route("**/", alter)


def test_inputs_too_large_to_be_written_out_are_sent_as_zeros(server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of("Tensor"), altered('"shape":[1,3]', '"shape":[2,1500]'))
    expect(page.get_by_text("Too large to write out")).to_be_visible()
    assert "data" not in json.loads(page.get_by_label("Request").input_value())["inputs"][0]

    with page.expect_request("**/infer") as asked:
        answer = send(page)
    assert json.loads(asked.value.post_data or "")["inputs"][0]["data"] == [0] * 3000
    expect(answer.locator(".error")).to_contain_text("400 Bad Request")
    expect(answer.locator(".curl")).to_contain_text("-d @request.json")


def test_a_model_without_a_form_in_json_says_so_in_place_of_the_form(server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of("Tensor"), altered('"hasJson":true', '"hasJson":false'))

    expect(page.locator("form")).to_have_text(re.compile("^FP16 and BF16 have no form in JSON"))
    expect(page.locator("#state")).to_have_text("Ready")


def test_what_the_server_took_its_time_for_is_shown(server_of: ServerOf, visit: Visit) -> None:
    timing = send(visit(server_of("Tensor"))).locator(".timing")

    parts = [re.escape(part) for part in ("queue", "batch", "device", "other")]
    expect(timing.locator("li")).to_have_text([re.compile(rf"^{part} [\d.,]+ ms$") for part in parts])
    expect(timing).to_contain_text(re.compile(r"[\d.,]+ ms in the server, [\d.,]+ ms from here and back"))
    shares = timing.locator(".bar i").evaluate_all("bars => bars.map(bar => parseFloat(bar.style.width))")
    assert sum(shares) == pytest.approx(100, abs=0.1)


# What goes wrong


def test_an_error_is_shown_as_the_server_says_it(server_of: ServerOf, visit: Visit) -> None:
    server = server_of("Tensor")
    page = visit(server)
    editor = page.get_by_label("Request")
    for body in (editor.input_value().replace("[1, 3]", "[1, 2]"), "{"):
        with server.client() as client:
            reply = client.post("/v2/models/doubler/infer", content=body)
        editor.fill(body)
        error = send(page).locator(".error")
        expect(error).to_contain_text("400 Bad Request")
        expect(error).to_contain_text(reply.json()["error"])


def test_the_error_of_the_openai_api_is_shown_too(server_of: ServerOf, visit: Visit) -> None:
    server, text = server_of("TextEmbedding"), "day " * 100
    with server.client() as client:
        reply = client.post("/v1/embeddings", json={"input": [text, "day"]})
    page = visit(server)
    page.get_by_label("First text").fill(text)
    page.get_by_label("Second text").fill("day")

    expect(send(page).locator(".error")).to_have_text(f"400 Bad Request{reply.json()['error']['message']}")


def test_a_form_without_an_image_tells_what_is_missing(server_of: ServerOf, visit: Visit) -> None:
    error = send(visit(server_of("ImageClassification"))).locator(".error")

    expect(error).to_contain_text("400 Bad Request")
    expect(error).to_contain_text("image")


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


# Live


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


# For everybody


@pytest.mark.parametrize("task", TASKS)
def test_the_command_for_a_shell_gets_the_same_answer(
    task: str, server_of: ServerOf, visit: Visit, tmp_path: Path
) -> None:
    page = visit(server_of(task))
    if task == "TextClassification":
        page.get_by_role("textbox", name="Text").fill('good day, it\'s "good"\n<&>')
    (tmp_path / IMAGE["name"]).write_bytes(IMAGE["buffer"])
    with page.expect_response(lambda reply: reply.request.method == "POST") as asked:
        command = ask_anything(page, task).locator(".curl").inner_text()
    program, *arguments = shlex.split(command)
    assert program == "curl"
    curl = subprocess.run(
        ["curl", "-sS", "--noproxy", "*", *arguments], cwd=tmp_path, capture_output=True, check=True, timeout=60
    )

    assert asked.value.ok
    assert json.loads(curl.stdout) == asked.value.json()


def test_what_looks_like_markup_in_a_bundle_is_shown_as_it_is(server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of("TextClassification"))
    page.get_by_role("textbox", name="Text").fill("awful <b>")

    expect(page.locator("#tensors tr").last).to_contain_text(f"out: {OUTPUT}")
    expect(send(page).locator(".first")).to_contain_text(BAD)
    assert page.locator("#answer img, #answer b, #tensors script").count() == 0


def test_it_works_by_the_keyboard_alone(server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of("TextClassification"), permissions=["clipboard-read", "clipboard-write"])
    focused = page.locator(":focus")
    page.keyboard.press("Tab")
    expect(focused).to_have_attribute("name", "text")
    page.keyboard.press("Control+A")
    page.keyboard.type("awful crash")
    page.keyboard.press("Control+Enter")
    expect(settled(page).locator(".first")).to_have_text(f"{BAD}, 88.1 %")
    page.keyboard.press("Tab")
    expect(focused).to_have_text("Send")
    page.keyboard.press("Tab")
    expect(focused).to_have_text("The same with curl")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(focused).to_have_text("Copy")
    page.keyboard.press("Enter")
    expect(focused).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator(".curl").inner_text()


@pytest.mark.parametrize("task", TASKS)
def test_what_can_be_filled_in_has_a_label_and_every_picture_a_text(
    task: str, server_of: ServerOf, visit: Visit
) -> None:
    page = visit(server_of(task))
    ask_anything(page, task)

    fields = page.locator("input, textarea, select")
    assert fields.count() == (2 if task == "TextEmbedding" else 1)
    assert all(fields.evaluate_all("all => all.map(one => one.labels.length && one.labels[0].innerText.trim())"))
    assert all(page.locator("img").evaluate_all("all => all.map(one => one.alt)"))
    assert all(page.locator("button").evaluate_all("all => all.map(one => one.textContent.trim())"))
    expect(page.get_by_role("region", name="Answer")).to_have_attribute("aria-live", "polite")


@pytest.mark.parametrize("task", TASKS)
def test_a_narrow_screen_needs_no_sideways_scrolling(task: str, server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of(task), viewport=NARROW)
    ask_anything(page, task)

    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("task", TASKS)
def test_every_text_stands_out_from_its_background(task: str, scheme: str, server_of: ServerOf, visit: Visit) -> None:
    page = visit(server_of(task), color_scheme=scheme)
    ask_anything(page, task)
    page.route("**/metrics", lambda route: route.abort())
    expect(page.get_by_role("alert")).to_be_visible()
    shown = page.evaluate(COLORS)
    if task == "Tensor":
        page.get_by_label("Request").fill("{")
        expect(send(page).locator(".error")).to_be_visible()
        shown += page.evaluate(COLORS)

    assert len(shown) > 30
    assert (luminance(shown[0][2]) < 0.2) == (scheme == "dark")
    assert [(text, ratio) for text, *colors in shown if (ratio := contrast(*colors)) < 4.5] == []


def contrast(one: list[float], other: list[float]) -> float:
    """The ratio of WCAG 2, 1 to 21."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: list[float]) -> float:
    shares = [part / 255 for part in color[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_it_works_behind_a_path(server_of: ServerOf, visit: Visit) -> None:
    def strip(route: Route) -> None:
        route.fulfill(response=route.fetch(url=route.request.url.replace("/proxy/", "/")))

    page = visit(server_of("Tensor"), lambda page: page.route("**/proxy/**", strip))
    page.goto("/proxy/")

    expect(page.locator("#state")).to_have_text("Ready")
    expect(send(page).locator("pre").first).to_contain_text('"data": [0, 0, 0]')
    expect(page.locator(".curl")).to_contain_text("/proxy/v2/models/")
    page.unroute_all(behavior="ignoreErrors")


def test_without_javascript_it_says_how_to_ask(server_of: ServerOf, launch: Launch) -> None:
    """The engine's own switch: with the protocol's, as Playwright has it, <noscript> is parsed as if scripts ran."""
    browser = launch("--blink-settings=scriptEnabled=false")
    try:
        page = browser.new_page()
        page.goto(server_of("TextClassification").url, timeout=WAIT_MS)
        expect(page.locator("noscript p")).to_be_visible()
        expect(page.locator("noscript code")).to_contain_text("/predict")
        expect(page.locator("main")).to_be_hidden()
    finally:
        browser.close()
