"""The real openai package against a real server: embeddings, models, and its own error types."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from openai import OpenAI

from runtime_builders import WIDTH, WORDS, text_bundle
from runtime_server import RunningServer, ready, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

GOOD, DAY = WORDS.index("good"), WORDS.index("day")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_bundle(tmp_path_factory.mktemp("embedder"), "TextEmbedding")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    """With little room in the queue."""
    flags = ("--engine", "cpu", "--bundle", str(folder), "--accept-token-ids")
    with ready(*flags, "--queue-capacity-rows", "40", "--max-rows-per-request", "30") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[OpenAI]:
    with client_of(server) as client:
        yield client


def client_of(server: RunningServer) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60)


def vectors(client: OpenAI, value: Any, **options: Any) -> list[list[float]]:
    answer = client.embeddings.create(model="tiny", input=value, **options)
    assert [row.index for row in answer.data] == list(range(len(answer.data)))
    return [row.embedding for row in answer.data]


def test_a_text_and_a_list_of_texts_have_vectors(client: OpenAI) -> None:
    one, many = vectors(client, "good day"), vectors(client, ["night", "good day"])

    assert [len(vector) for vector in one + many] == [WIDTH] * 3
    assert many[1] == pytest.approx(one[0])
    assert np.linalg.norm(one[0]) == pytest.approx(1, abs=1e-5)


def test_base64_which_the_client_asks_for_by_itself_gives_the_same_as_float(client: OpenAI) -> None:
    by_itself, asked_for = vectors(client, "good day"), vectors(client, "good day", encoding_format="float")

    assert np.array_equal(np.array(by_itself, np.float32), np.array(asked_for, np.float32))
    raw = client.embeddings.create(model="tiny", input="good day", encoding_format="base64")
    assert isinstance(raw.data[0].embedding, str)


def test_tokens_are_counted(client: OpenAI) -> None:
    answer = client.embeddings.create(model="tiny", input=["good day", "night"])

    assert (answer.usage.prompt_tokens, answer.usage.total_tokens, answer.model) == (3, 3, "tiny")


def test_token_ids_are_the_texts_they_stand_for(client: OpenAI) -> None:
    [text] = vectors(client, "good day")

    assert vectors(client, [GOOD, DAY])[0] == pytest.approx(text)
    assert vectors(client, [[DAY], [GOOD, DAY]])[1] == pytest.approx(text)


def test_dimensions_are_the_model_s_or_refused(client: OpenAI) -> None:
    assert len(vectors(client, "good", dimensions=WIDTH)[0]) == WIDTH
    with pytest.raises(openai.BadRequestError, match="'dimensions' must be 8") as caught:
        vectors(client, "good", dimensions=3)
    assert caught.value.param == "dimensions"


def test_models_are_listed_and_found_by_name(client: OpenAI) -> None:
    [listed] = client.models.list().data
    found = client.models.retrieve("tiny")

    assert listed == found
    assert (found.id, found.object, found.owned_by) == ("tiny", "model", "neuron-serving")
    assert found.created > 1_700_000_000


def test_another_model_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'gpt' here") as retrieved:
        client.models.retrieve("gpt")
    with pytest.raises(openai.NotFoundError) as asked:
        client.embeddings.create(model="gpt", input="a")
    assert retrieved.value.code == asked.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("value", "param", "told"),
    [
        ([], "input", "is an empty list"),
        (["good", "day " * 17], "input[1]", "text 1 has 17 tokens"),
        ([GOOD] * 17, "input[0]", "text 0 has 17 tokens"),
        ([[GOOD], [len(WORDS)]], "input[1]", f"ids 0 to {len(WORDS) - 1}"),
        ([-1], "input[0]", "token id -1 is not in this model's vocabulary"),
    ],
)
def test_a_wrong_input_is_a_bad_request_naming_it(client: OpenAI, value: Any, param: str, told: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        vectors(client, value)
    assert (caught.value.param, caught.value.type) == (param, "invalid_request_error")
    assert told in caught.value.message


def test_too_many_inputs_at_once_are_refused_with_413(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError, match="at most 30 are served at once") as caught:
        vectors(client, ["good"] * 31)
    assert caught.value.status_code == 413
    assert caught.value.type == "invalid_request_error"


def test_a_full_queue_is_a_rate_limit_with_the_time_to_come_back(client: OpenAI, server: RunningServer) -> None:
    """The worker stands still meanwhile, so what is asked stays in the queue: eight times ten rows into forty."""
    [worker] = server.worker_pids()
    os.kill(worker, signal.SIGSTOP)
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(vectors, client, ["good"] * 10) for _ in range(8)]
        try:
            wait_until(lambda: any(one.done() for one in asked))
        finally:
            os.kill(worker, signal.SIGCONT)
    refused = [error for one in asked if isinstance(error := one.exception(), openai.RateLimitError)]
    assert len(refused) >= 1
    assert len(refused) + sum(one.exception() is None for one in asked) == len(asked)
    assert {error.type for error in refused} == {"rate_limit_error"}
    assert all(int(error.response.headers["retry-after"]) >= 1 for error in refused)


def test_a_server_without_the_setting_refuses_token_ids_with_the_reason(folder: Path) -> None:
    with ready("--engine", "cpu", "--bundle", str(folder)) as server, client_of(server) as client:
        with pytest.raises(openai.BadRequestError, match="ids made by another tokenizer") as caught:
            vectors(client, [GOOD, DAY])
        assert caught.value.param == "input"
