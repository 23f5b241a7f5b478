"""Fixtures of the tests of the page at /: real servers, the distribution's Chromium, and a page that is looked after.

Whatever a test does, the page asks nobody but its server, and the console stays free of errors.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from browser.pages import BAD, GOOD, OUTPUT, WAIT_MS, Launch, ServerOf, Visit
from runtime_builders import image_bundle, tensor_bundle, text_bundle
from runtime_server import RunningServer, ready


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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
def launch() -> Iterator[Launch]:
    """Starts the distribution's Chromium with further options."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: `python -m cluster build` installs it (make integration does)"
    expect.set_options(timeout=WAIT_MS)
    options = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        yield lambda *more: playwright.chromium.launch(executable_path=program, args=[*options, *more], timeout=WAIT_MS)


@pytest.fixture(scope="session")
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
