"""What the tests of the page have in common: the tasks, and what a person does on each."""

from collections.abc import Callable
from typing import Any

from playwright.sync_api import Browser, Locator, Page, expect

from image_files import file_of, plain
from runtime_server import RunningServer

WAIT_MS = 60_000
BAD, GOOD = "<img src=x onerror=alert(1)>", "<b>good</b> & 'so'"
OUTPUT = "</script><script>alert(2)</script>"
SIMULATED = ("--engine", "simulated", "--simulated-service-ms", "1")
IMAGE: Any = {"name": "it's green.png", "mimeType": "image/png", "buffer": file_of(plain(12, 12, (0, 255, 0)))}
TASKS = ("TextClassification", "TextEmbedding", "ImageClassification", "Tensor")

ServerOf = Callable[[str], RunningServer]
Visit = Callable[..., Page]
Launch = Callable[..., Browser]


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
