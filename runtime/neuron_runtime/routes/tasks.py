"""What each API does with a request: parse, admit, wait for the answer, encode.

infer        a tensor request of the Open Inference Protocol
predict      texts or images → label and confidence
embeddings   text → vectors, in OpenAI's shape
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from neuron_runtime.bundle import ImageSpec, TensorSpec
from neuron_runtime.errors import DeadlineExceededError, InvalidRequestError, RuntimeServingError
from neuron_runtime.images import ImageEncoder
from neuron_runtime.routes.exchange import JSON, HttpRequest
from neuron_runtime.service import Service
from neuron_runtime.tensors import Array
from neuron_runtime.tickets import Answer
from neuron_runtime.tokens import EncodedTexts, TextTooLongError, UnknownTokenError
from neuron_runtime.wire import open_inference, openai, predictions
from neuron_runtime.wire.images import GivenImage, ImagesCall, parse_images

MOST_DECODERS = 16


@dataclass(slots=True)
class Outcome:
    """What a task came to: the reply's body, its headers (content type first), and the times for metrics."""

    body: bytes
    answer: Answer
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)


Task: TypeAlias = Callable[[Service, HttpRequest], Awaitable[Outcome]]


async def infer(service: Service, request: HttpRequest) -> Outcome:
    call = service.open_inference.parse(request.body, request.headers)
    with service.admission.admit(call.rows) as permit:
        answer = await service.batcher.infer(call.inputs, permit, request.deadline)
    reply = service.open_inference.encode(call, answer.outputs)
    return Outcome(reply.body, answer, reply.headers)


async def predict_texts(service: Service, request: HttpRequest) -> Outcome:
    call = predictions.parse_texts(request.body, service.model)
    with service.admission.admit(len(call.texts)) as permit:
        encoded = await service.encode(call.texts, "text")
        answer = await service.batcher.infer(service.arrays_in_order(encoded), permit, request.deadline)
    return Outcome(predictions.encode_predictions(service.model, answer.outputs, call), answer)


class ImagePredictions:
    """The task of an image model. Its decoders are few threads of its own: each may hold a large picture in memory."""

    def __init__(self, spec: ImageSpec, tensor: TensorSpec, max_pixels: int) -> None:
        self._encoder = ImageEncoder(spec, tensor, max_pixels)
        self._threads = ThreadPoolExecutor(min(MOST_DECODERS, len(os.sched_getaffinity(0))), "decode")

    async def __call__(self, service: Service, request: HttpRequest) -> Outcome:
        call = parse_images(request.body, request.headers)
        with service.admission.admit(len(call.images)) as permit:
            began = time.monotonic()
            rows = await self._decoded(call, request.deadline)
            service.metrics.decode_seconds.observe(time.monotonic() - began)
            answer = await service.batcher.infer([rows], permit, request.deadline)
        return Outcome(predictions.encode_predictions(service.model, answer.outputs, call), answer)

    async def _decoded(self, call: ImagesCall, deadline: float) -> Array:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(deadline):
                rows = await asyncio.gather(*(loop.run_in_executor(self._threads, self._row, i) for i in call.images))
        except TimeoutError:
            raise DeadlineExceededError("the request's deadline passed before its images were decoded") from None
        return np.concatenate(rows) if len(rows) > 1 else rows[0]

    def _row(self, given: GivenImage) -> Array:
        return self._encoder.encode(given.file(), given.field)


async def embeddings(service: Service, request: HttpRequest) -> Outcome:
    accepts = service.settings.accept_token_ids
    call = openai.parse_embeddings(request.body, service.model, accept_token_ids=accepts)
    with service.admission.admit(call.rows) as permit:
        encoded = await service.encode(call.texts, "input") if call.texts else _encode_token_ids(service, call)
        answer = await service.batcher.infer(service.arrays_in_order(encoded), permit, request.deadline)
    mask = encoded.arrays.get("attention_mask")
    tokens = sum(encoded.token_counts)
    return Outcome(openai.encode_embeddings(service.model, call, answer.outputs, mask, tokens), answer)


def _encode_token_ids(service: Service, call: openai.EmbeddingsCall) -> EncodedTexts:
    """There is nothing to tokenize, so this stays on the event loop."""
    assert service.encoder is not None, "only embedding models parse token ids, and those have a tokenizer"
    try:
        return service.encoder.encode_token_ids(call.token_ids)
    except (TextTooLongError, UnknownTokenError) as error:
        raise InvalidRequestError(str(error), f"input[{error.index}]") from None


@dataclass(frozen=True)
class Api:
    """One of the APIs: its name in metrics and logs, its task, and the shape of its errors."""

    name: str
    task: Task
    error_body: Callable[[RuntimeServingError], bytes]


def predict_api(service: Service) -> Api:
    """What POST /predict does depends on what the model takes. Other models are told by the task of texts."""
    image = service.model.image
    if service.model.task != "ImageClassification" or image is None:
        return Api("predict", predict_texts, open_inference.error_body)
    task = ImagePredictions(image, service.model.inputs[0], service.settings.max_image_pixels)
    return Api("predict", task, open_inference.error_body)


INFER = Api("infer", infer, open_inference.error_body)
EMBEDDINGS = Api("embeddings", embeddings, openai.error_body)
