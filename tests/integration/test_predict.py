"""POST /predict over real HTTP, for texts and for images: every way to send them, every score on request."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from image_files import as_base64, file_of, plain
from runtime_builders import image_bundle, text_bundle
from runtime_server import RunningServer, ready

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

RED, GREEN, BLUE = (file_of(plain(40, 30, color), "PNG") for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255)))
LIKELY = {"label": "red", "confidence": 0.999909}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    bundle = image_bundle(tmp_path_factory.mktemp("colors"))
    flags = ("--engine", "cpu", "--bundle", str(bundle), "--max-image-pixels", "10000")
    with ready(*flags, "--max-rows-per-request", "8", "--max-body-bytes", "200000") as server:
        yield server


@pytest.fixture(scope="module")
def images(server: RunningServer) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def test_an_image_is_sent_as_a_form_as_the_body_or_as_base64(images: httpx.Client) -> None:
    form = images.post("/predict", files={"image": ("a.png", RED, "image/png")})
    body = images.post("/predict", content=RED, headers={"content-type": "image/png"})
    json = images.post("/predict", json={"image": as_base64(RED)})

    assert form.status_code == 200, form.text
    assert form.json() == body.json() == json.json() == LIKELY
    assert form.headers["server-timing"]


def test_several_images_are_answered_in_their_order(images: httpx.Client) -> None:
    sent = [BLUE, RED, GREEN, RED, BLUE]
    form = images.post("/predict", files=[("image", (str(i), file)) for i, file in enumerate(sent)])
    json = images.post("/predict", json={"image": [as_base64(file) for file in sent]})

    assert [answer["label"] for answer in form.json()] == ["blue", "red", "green", "red", "blue"]
    assert form.json() == json.json()


def test_every_score_comes_on_request(images: httpx.Client) -> None:
    form = images.post("/predict", files={"image": RED}, data={"scores": "true"})
    json = images.post("/predict", json={"image": [as_base64(RED)], "scores": True})

    assert [form.json()] == json.json()
    assert form.json() == LIKELY | {
        "scores": [LIKELY, {"label": "green", "confidence": 4.5e-05}, {"label": "blue", "confidence": 4.5e-05}]
    }


@pytest.mark.parametrize(
    ("request_", "status", "told"),
    [
        pytest.param({"json": {"image": [as_base64(RED), "AAAA"]}}, 400, "'image[1]' is no image", id="no image"),
        pytest.param({"json": {"image": "?"}}, 400, "'image' is not base64", id="no base64"),
        pytest.param({"files": {"image": RED[:60]}}, 400, "'image' is not an image", id="truncated"),
        pytest.param({"files": {"image": file_of(plain(101, 100, (1, 2, 3)))}}, 413, "101 pixels, at most", id="large"),
        pytest.param({"files": [("image", RED)] * 9}, 413, "9 rows, at most 8", id="too many"),
        pytest.param({"files": {"image": b" " * 200_001}}, 413, "larger than 200000 bytes", id="too many bytes"),
        pytest.param({"files": {"picture": RED}}, 400, "unknown form field 'picture'", id="other field"),
        pytest.param({"json": {"text": "a"}}, 400, "unknown field 'text'", id="a text"),
        pytest.param({"data": {"image": "x"}}, 400, "neither a form, nor an image, nor JSON", id="urlencoded"),
        pytest.param({"content": b""}, 400, "neither a form, nor an image, nor JSON", id="nothing"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(
    images: httpx.Client, request_: dict[str, Any], status: int, told: str
) -> None:
    response = images.post("/predict", **request_)

    assert (response.status_code, told in response.json()["error"]) == (status, True), response.text
    assert images.post("/predict", files={"image": RED}).status_code == 200


def test_decoding_is_measured(images: httpx.Client, server: RunningServer) -> None:
    before = server.metric("neuron_model_decode_duration_seconds_count")
    images.post("/predict", files={"image": RED})

    assert server.metric("neuron_model_decode_duration_seconds_count") == before + 1


def test_the_image_model_is_described_and_sends_others_away(images: httpx.Client) -> None:
    document = images.get("/openapi.json").json()
    embeddings = images.post("/v1/embeddings", json={"input": "a"})

    assert "multipart/form-data" in document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert embeddings.json()["error"]["message"] == "model 'colors' is an ImageClassification model; use POST /predict"


def test_a_text_has_every_score_on_request(tmp_path_factory: pytest.TempPathFactory) -> None:
    bundle = text_bundle(tmp_path_factory.mktemp("classifier"))
    with ready("--engine", "cpu", "--bundle", str(bundle)) as server, server.client() as client:
        one = client.post("/predict", json={"text": "good day", "scores": True})
        many = client.post("/predict", json={"text": ["awful night"], "scores": True})
        form = client.post("/predict", files={"image": RED})

    scores = [{"label": "positive", "confidence": 0.880797}, {"label": "negative", "confidence": 0.119203}]
    assert one.json() == {"label": "positive", "confidence": 0.880797, "scores": scores}
    assert [score["label"] for score in many.json()[0]["scores"]] == ["negative", "positive"]
    assert (form.status_code, "the body is not JSON" in form.json()["error"]) == (400, True)
