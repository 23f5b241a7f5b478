"""What each API does with a request: parse, admit, wait for the answer, encode.

infer        a tensor request of the Open Inference Protocol
predict      text → label and confidence
embeddings   text → vectors, in OpenAI's shape
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from neuron_runtime.batcher import Answer
from neuron_runtime.errors import RuntimeServingError
from neuron_runtime.routes.exchange import JSON, HttpRequest
from neuron_runtime.service import Service
from neuron_runtime.wire import open_inference, openai, predictions


@dataclass(frozen=True)
class Outcome:
    """What a task came to: the reply's body, its headers (content type first), and the times for metrics."""

    body: bytes
    answer: Answer
    headers: tuple[tuple[bytes, bytes], ...] = (JSON,)


Task: TypeAlias = Callable[[Service, HttpRequest], Awaitable[Outcome]]


async def infer(service: Service, request: HttpRequest) -> Outcome:
    call = open_inference.parse_infer(request.body, request.headers, service.model)
    with service.admission.admit(call.rows) as permit:
        answer = await service.batcher.infer(call.inputs, permit, request.deadline)
    return Outcome(open_inference.encode_infer(service.model, call, answer.outputs), answer)


async def predict(service: Service, request: HttpRequest) -> Outcome:
    texts, as_list = predictions.parse_predict(request.body, service.model)
    with service.admission.admit(len(texts)) as permit:
        encoded = await service.encode(texts, "text")
        answer = await service.batcher.infer(service.arrays_in_order(encoded), permit, request.deadline)
    return Outcome(predictions.encode_predict(service.model, answer.outputs, as_list=as_list), answer)


async def embeddings(service: Service, request: HttpRequest) -> Outcome:
    call = openai.parse_embeddings(request.body, service.model)
    with service.admission.admit(len(call.texts)) as permit:
        encoded = await service.encode(call.texts, "input")
        answer = await service.batcher.infer(service.arrays_in_order(encoded), permit, request.deadline)
    mask = encoded.arrays.get("attention_mask")
    tokens = sum(encoded.token_counts)
    return Outcome(openai.encode_embeddings(service.model, call, answer.outputs, mask, tokens), answer)


@dataclass(frozen=True)
class Api:
    """One of the APIs: its name in metrics and logs, its task, and the shape of its errors."""

    name: str
    task: Task
    error_body: Callable[[RuntimeServingError], bytes]


INFER = Api("infer", infer, open_inference.error_body)
PREDICT = Api("predict", predict, open_inference.error_body)
EMBEDDINGS = Api("embeddings", embeddings, openai.error_body)
