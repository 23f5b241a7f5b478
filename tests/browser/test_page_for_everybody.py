"""The page at / in real headless Chromium for everybody: keyboard, labels, narrow screens, both color schemes, a shell,
a path before it, no scripts."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Route, ViewportSize, expect

from browser.pages import BAD, IMAGE, OUTPUT, TASKS, WAIT_MS, Launch, ServerOf, Visit, ask_anything, send, settled

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NARROW: ViewportSize = {"width": 320, "height": 640}

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
