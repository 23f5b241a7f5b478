"""The page at / in real headless Chromium: the form and the answer of each task, and what it says when one fails."""

import json
import re
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, Route, expect

from browser.pages import BAD, GOOD, IMAGE, ServerOf, Visit, send

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


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
