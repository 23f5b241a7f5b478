"""The answer to an inference request of the Open Inference Protocol, in JSON and binary tensors. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from neuron_runtime.errors import InferenceFailedError
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import Array
from neuron_runtime.wire.binary_tensors import HEADER_LENGTH, bytes_of
from neuron_runtime.wire.infer_request import InferCall
from neuron_runtime.wire.json_body import JsonObject, check_finite, dump

_JSON = ((b"content-type", b"application/json"),)
_BINARY = (b"content-type", b"application/octet-stream")


class InferReply(NamedTuple):
    """The body and the headers that say how to read it."""

    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class ResponseCodec:
    def __init__(self, model: ServedModel) -> None:
        self._name = model.name
        self._version = model.version
        self._outputs: list[tuple[str, str]] = [(spec.name, spec.datatype) for spec in model.outputs]

    def encode(self, call: InferCall, outputs: Sequence[Array]) -> InferReply:
        """`outputs` are in the model's order; InferenceFailedError names the one that JSON cannot carry."""
        answer: JsonObject = {"model_name": self._name, "model_version": self._version}
        if call.id is not None:
            answer["id"] = call.id
        tensors: list[JsonObject] = []
        payload: list[memoryview] = []
        for position, as_binary in call.wanted:
            (name, datatype), array = self._outputs[position], outputs[position]
            tensor: JsonObject = {"name": name, "datatype": datatype, "shape": array.shape}
            if as_binary:
                raw = bytes_of(array, datatype)
                tensor["parameters"] = {"binary_data_size": len(raw)}
                payload.append(raw)
            else:
                tensor["data"] = _texts(name, array) if datatype == "BYTES" else _numbers(array)
            tensors.append(tensor)
        answer["outputs"] = tensors
        head = dump(answer)
        if b"null" in head:
            self._refuse_non_finite(call, outputs)
        if not payload:
            return InferReply(head, _JSON)
        return InferReply(b"".join([head, *payload]), (_BINARY, (HEADER_LENGTH, str(len(head)).encode())))

    def _refuse_non_finite(self, call: InferCall, outputs: Sequence[Array]) -> None:
        """What is NaN or infinite in an array comes out of orjson as null; the word may also stand in an id."""
        for position, as_binary in call.wanted:
            if not as_binary:
                check_finite(self._outputs[position][0], outputs[position])


def _numbers(array: Array) -> Array:
    flat = array.ravel()
    # orjson reads the memory as it is, and a worker's frame puts arrays at any address.
    return flat if flat.flags.aligned else flat.copy()


def _texts(name: str, array: Array) -> list[str]:
    elements: list[bytes] = array.reshape(-1).tolist()
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError:
        raise InferenceFailedError(
            f"output '{name}' holds bytes that are no UTF-8 text; ask for it as binary data"
        ) from None
