"""Open Inference Protocol v2 over REST: inference requests and answers, metadata, errors. Pure.

Specification: open-inference-protocol, "inference_rest.md". The binary tensor extension is refused by name, so that a
client that sends it learns what to turn off.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neuron_runtime import __version__
from neuron_runtime.buckets import check_shape
from neuron_runtime.bundle import TensorSpec
from neuron_runtime.errors import InvalidRequestError, RuntimeServingError
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import WITHOUT_JSON_FORM, Array, array_from_json
from neuron_runtime.wire.json_body import JsonObject, check_finite, dump, parse_object, type_word

BINARY_HEADER = b"inference-header-content-length"
_WITHOUT_BINARY = "the binary tensor extension is not supported; send and ask for JSON data"


@dataclass(frozen=True)
class InferCall:
    """A parsed request: inputs in the model's order, the outputs wanted in the order asked for."""

    id: str | None
    inputs: tuple[Array, ...]
    wanted: tuple[str, ...]

    @property
    def rows(self) -> int:
        return len(self.inputs[0])


def parse_infer(body: bytes, headers: Mapping[bytes, bytes], model: ServedModel) -> InferCall:
    """The call in `body`; InvalidRequestError names the tensor and what the model takes instead."""
    if BINARY_HEADER in headers:
        raise InvalidRequestError(_WITHOUT_BINARY, "Inference-Header-Content-Length")
    document = parse_object(body)
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidRequestError(f"'id' must be a text, not {type_word(request_id)}", "id")
    _refuse_binary(document.get("parameters"), "binary_data_output", "parameters")
    given = _given_inputs(document, model)
    inputs = tuple(_array(spec, *given[spec.name]) for spec in model.inputs)
    rows = {len(array) for array in inputs}
    if len(rows) != 1:
        counts = ", ".join(f"{spec.name} has {len(array)}" for spec, array in zip(model.inputs, inputs, strict=True))
        raise InvalidRequestError(f"the inputs disagree on the number of rows: {counts}", "inputs")
    return InferCall(request_id, inputs, _wanted(document.get("outputs"), model))


def _given_inputs(document: JsonObject, model: ServedModel) -> dict[str, tuple[str, JsonObject]]:
    """Every input of the model as (its place in the request, the tensor object)."""
    listed = document.get("inputs")
    if not isinstance(listed, list) or not listed:
        raise InvalidRequestError("'inputs' must be a list of at least one tensor", "inputs")
    names = [spec.name for spec in model.inputs]
    given: dict[str, tuple[str, JsonObject]] = {}
    for index, tensor in enumerate(listed):
        field = f"inputs[{index}]"
        if not isinstance(tensor, dict):
            raise InvalidRequestError(f"'{field}' must be an object, not {type_word(tensor)}", field)
        name = tensor.get("name")
        if name not in names:
            raise InvalidRequestError(
                f"'{field}' is named {_quoted(name)}, which is no input of model '{model.name}'; it takes "
                f"{', '.join(names)}",
                f"{field}.name",
            )
        if name in given:
            raise InvalidRequestError(f"input '{name}' is given twice", f"{field}.name")
        given[name] = (field, tensor)
    missing = [name for name in names if name not in given]
    if missing:
        raise InvalidRequestError(f"input '{missing[0]}' is missing; the model takes {', '.join(names)}", "inputs")
    return given


def _array(spec: TensorSpec, field: str, tensor: JsonObject) -> Array:
    datatype = tensor.get("datatype")
    if datatype != spec.datatype:
        raise InvalidRequestError(
            f"'{field}' ({spec.name}) has datatype {_quoted(datatype)}, the model takes {spec.datatype}",
            f"{field}.datatype",
        )
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise InvalidRequestError(f"'{field}.shape' must be a list of whole numbers", f"{field}.shape")
    check_shape(spec, tuple(shape), field)
    _refuse_binary(tensor.get("parameters"), "binary_data_size", field)
    if spec.datatype in WITHOUT_JSON_FORM:
        raise InvalidRequestError(f"'{field}': {spec.datatype} has no JSON form, and {_WITHOUT_BINARY}", field)
    if "data" not in tensor:
        raise InvalidRequestError(f"'{field}.data' is missing", f"{field}.data")
    return array_from_json(tensor["data"], spec.datatype, tuple(shape), field)


def _wanted(outputs: object, model: ServedModel) -> tuple[str, ...]:
    """The outputs asked for; refused now when the answer could not be written after the device has computed it."""
    names = _named_outputs(outputs, model)
    for spec in model.outputs:
        if spec.name in names and spec.datatype in WITHOUT_JSON_FORM:
            raise InvalidRequestError(
                f"output '{spec.name}' is {spec.datatype}, which has no JSON form; {_WITHOUT_BINARY}", "outputs"
            )
    return names


def _named_outputs(outputs: object, model: ServedModel) -> tuple[str, ...]:
    names = [spec.name for spec in model.outputs]
    if outputs is None or outputs == []:
        return tuple(names)
    if not isinstance(outputs, list):
        raise InvalidRequestError(f"'outputs' must be a list, not {type_word(outputs)}", "outputs")
    wanted: list[str] = []
    for index, output in enumerate(outputs):
        field = f"outputs[{index}]"
        name = output.get("name") if isinstance(output, dict) else None
        if name not in names:
            raise InvalidRequestError(
                f"'{field}' is named {_quoted(name)}, which is no output of model '{model.name}'; it gives "
                f"{', '.join(names)}",
                f"{field}.name",
            )
        _refuse_binary(output.get("parameters"), "binary_data", field)
        wanted.append(name)
    return tuple(wanted)


def encode_infer(model: ServedModel, call: InferCall, outputs: Sequence[Array]) -> bytes:
    """The answer; InferenceFailedError when an output holds what JSON cannot carry."""
    by_name = dict(zip((spec.name for spec in model.outputs), zip(model.outputs, outputs, strict=True), strict=True))
    tensors = []
    for name in call.wanted:
        spec, array = by_name[name]
        check_finite(name, array)
        flat = np.ascontiguousarray(array).reshape(-1)
        tensors.append({"name": name, "datatype": spec.datatype, "shape": array.shape, "data": flat})
    answer: JsonObject = {"model_name": model.name, "model_version": model.version}
    if call.id is not None:
        answer["id"] = call.id
    answer["outputs"] = tensors
    return dump(answer)


def server_metadata() -> JsonObject:
    return {"name": "neuron-runtime", "version": __version__, "extensions": []}


def model_metadata(model: ServedModel) -> JsonObject:
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": model.platform,
        "inputs": [_described(spec) for spec in model.inputs],
        "outputs": [_described(spec) for spec in model.outputs],
    }


def error_body(error: RuntimeServingError) -> bytes:
    return dump({"error": error.message})


def _described(spec: TensorSpec) -> JsonObject:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _refuse_binary(parameters: object, key: str, field: str) -> None:
    if isinstance(parameters, dict) and parameters.get(key):
        raise InvalidRequestError(f"{_WITHOUT_BINARY} ('{field}' asks for it by {key})", f"{field}.{key}")


def _quoted(value: object) -> str:
    return f"'{value}'" if isinstance(value, str) else type_word(value)
