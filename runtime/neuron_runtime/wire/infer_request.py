"""An inference request of the Open Inference Protocol as arrays, JSON and binary tensors mixed. Pure.

Specification: open-inference-protocol, "inference_rest.md", and Triton's "extension_binary_data.md". On the path of
every request, so what depends on the model alone is prepared once.
"""

from collections.abc import Mapping
from typing import NamedTuple

from neuron_runtime.bundle import TensorSpec
from neuron_runtime.errors import InvalidRequestError
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import WITHOUT_JSON_FORM, Array
from neuron_runtime.wire.binary_tensors import HEADER_LENGTH, BinaryPart
from neuron_runtime.wire.infer_inputs import SHARED_MEMORY, InputReader, quoted
from neuron_runtime.wire.json_body import JsonObject, parse_object, type_word
from neuron_runtime.wire.json_tensors import may_hold_booleans

_NON_FINITE_WORDS = (b"-Infinity", b"Infinity", b"NaN")


class Wanted(NamedTuple):
    """An output asked for: its place among the model's outputs, and how it is to be written."""

    position: int
    as_binary: bool


class InferCall(NamedTuple):
    """A parsed request: inputs in the model's order, the outputs wanted in the order asked for."""

    id: str | None
    inputs: tuple[Array, ...]
    wanted: tuple[Wanted, ...]

    @property
    def rows(self) -> int:
        return len(self.inputs[0])


class RequestCodec:
    def __init__(self, model: ServedModel) -> None:
        self._model_name = model.name
        self._readers = {spec.name: InputReader(spec) for spec in model.inputs}
        self._input_names = ", ".join(self._readers)
        self._outputs = RequestedOutputs(model)

    def parse(self, body: bytes, headers: Mapping[bytes, bytes]) -> InferCall:
        """The call in `body`; InvalidRequestError names the tensor and what the model takes instead."""
        json_length = headers.get(HEADER_LENGTH)
        binary = None if json_length is None else BinaryPart(body, json_length)
        text = body if binary is None else binary.json
        document = _parse_object(text)
        request_id = document.get("id")
        if request_id is not None and not isinstance(request_id, str):
            raise InvalidRequestError(f"'id' must be a text, not {type_word(request_id)}", "id")
        inputs = self._inputs(document.get("inputs"), binary, has_booleans=may_hold_booleans(text))
        return InferCall(request_id, inputs, self._outputs.wanted(document))

    def _inputs(self, listed: object, binary: BinaryPart | None, *, has_booleans: bool) -> tuple[Array, ...]:
        if not isinstance(listed, list) or not listed:
            raise InvalidRequestError("'inputs' must be a list of at least one tensor", "inputs")
        given: dict[str, Array] = {}
        for index, tensor in enumerate(listed):
            reader = self._reader(index, tensor)
            if reader.name in given:
                raise InvalidRequestError(f"inputs[{index}]: input '{reader.name}' is given twice", f"inputs[{index}]")
            given[reader.name] = reader.read(tensor, index, binary, has_booleans=has_booleans)
        if binary is not None:
            binary.check_used_up()
        if len(given) != len(self._readers):
            missing = next(name for name in self._readers if name not in given)
            raise InvalidRequestError(f"input '{missing}' is missing; the model takes {self._input_names}", "inputs")
        if len(given) == 1:
            return tuple(given.values())
        arrays = tuple(given[name] for name in self._readers)
        if len({len(array) for array in arrays}) != 1:
            counts = ", ".join(f"{name} has {len(given[name])}" for name in self._readers)
            raise InvalidRequestError(f"the inputs disagree on the number of rows: {counts}", "inputs")
        return arrays

    def _reader(self, index: int, tensor: object) -> InputReader:
        if not isinstance(tensor, dict):
            raise InvalidRequestError(
                f"'inputs[{index}]' must be an object, not {type_word(tensor)}", f"inputs[{index}]"
            )
        name = tensor.get("name")
        reader = self._readers.get(name) if isinstance(name, str) else None
        if reader is None:
            raise InvalidRequestError(
                f"'inputs[{index}]' is named {quoted(name)}, which is no input of model '{self._model_name}'; it takes "
                f"{self._input_names}",
                f"inputs[{index}].name",
            )
        return reader


class RequestedOutputs:
    """Which outputs a request wants and in which form; refused now what could not be written after the device's work.

    `outputs[].parameters.binary_data` decides, then the request's `parameters.binary_data_output`, then JSON.
    """

    def __init__(self, model: ServedModel) -> None:
        self._model_name = model.name
        self._specs = model.outputs
        self._positions = {spec.name: position for position, spec in enumerate(model.outputs)}
        self._all_binary = tuple(Wanted(position, as_binary=True) for position in range(len(model.outputs)))
        self._all_json = tuple(Wanted(position, as_binary=False) for position in range(len(model.outputs)))
        self._first_without_json = next((spec for spec in model.outputs if spec.datatype in WITHOUT_JSON_FORM), None)

    def wanted(self, document: JsonObject) -> tuple[Wanted, ...]:
        as_binary = _flag(document.get("parameters"), "binary_data_output", "parameters") or False
        outputs = document.get("outputs")
        if outputs is not None and outputs != []:
            return self._named(outputs, as_binary=as_binary)
        if as_binary:
            return self._all_binary
        if self._first_without_json is not None:
            raise _without_json(self._first_without_json)
        return self._all_json

    def _named(self, outputs: object, *, as_binary: bool) -> tuple[Wanted, ...]:
        if not isinstance(outputs, list):
            raise InvalidRequestError(f"'outputs' must be a list, not {type_word(outputs)}", "outputs")
        wanted: dict[int, Wanted] = {}
        for index, output in enumerate(outputs):
            one = self._one(index, output, as_binary=as_binary)
            if one.position in wanted:
                raise InvalidRequestError(
                    f"outputs[{index}]: output '{output['name']}' is asked for twice", f"outputs[{index}]"
                )
            wanted[one.position] = one
        return tuple(wanted.values())

    def _one(self, index: int, output: object, *, as_binary: bool) -> Wanted:
        field = f"outputs[{index}]"
        if not isinstance(output, dict):
            raise InvalidRequestError(f"'{field}' must be an object, not {type_word(output)}", field)
        name = output.get("name")
        position = self._positions.get(name) if isinstance(name, str) else None
        if position is None:
            raise InvalidRequestError(
                f"'{field}' is named {quoted(name)}, which is no output of model '{self._model_name}'; it gives "
                f"{', '.join(self._positions)}",
                f"{field}.name",
            )
        parameters = output.get("parameters")
        own = _flag(parameters, "binary_data", f"{field}.parameters")
        if isinstance(parameters, dict):
            _refuse_other_forms(parameters, f"{field} ('{name}')")
        wanted = Wanted(position, as_binary if own is None else own)
        if not wanted.as_binary and self._specs[position].datatype in WITHOUT_JSON_FORM:
            raise _without_json(self._specs[position])
        return wanted


def _parse_object(body: bytes) -> JsonObject:
    try:
        return parse_object(body)
    except InvalidRequestError:
        _refuse_non_finite(body)
        raise


def _refuse_non_finite(body: bytes) -> None:
    """Python's own json writes NaN and Infinity, which are no JSON: say which tensor holds them."""
    patched = body
    for word in _NON_FINITE_WORDS:
        patched = patched.replace(word, b"null")
    if patched == body:
        return
    try:
        listed = parse_object(patched).get("inputs")
    except InvalidRequestError:
        return
    for index, tensor in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(tensor, dict) and _holds_null(tensor.get("data", [])):
            raise InvalidRequestError(
                f"inputs[{index}] ({quoted(tensor.get('name'))}): data holds NaN or infinity, which JSON cannot carry; "
                "send the tensor as binary data",
                f"inputs[{index}].data",
            )


def _holds_null(data: object) -> bool:
    left = [data]
    while left:
        part = left.pop()
        if isinstance(part, list):
            if None in part:
                return True
            left.extend(item for item in part if isinstance(item, list))
    return False


def _flag(parameters: object, key: str, field: str) -> bool | None:
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        raise InvalidRequestError(f"'{field}' must be an object, not {type_word(parameters)}", field)
    value = parameters.get(key)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequestError(f"'{field}.{key}' must be true or false, not {type_word(value)}", f"{field}.{key}")
    return value


def _refuse_other_forms(parameters: JsonObject, place: str) -> None:
    if SHARED_MEMORY in parameters:
        raise InvalidRequestError(f"{place}: shared memory is not supported; take the data from the reply", place)
    if parameters.get("classification"):
        raise InvalidRequestError(
            f"{place}: the classification extension is not supported; ask for the scores and sort them", place
        )


def _without_json(spec: TensorSpec) -> InvalidRequestError:
    return InvalidRequestError(
        f"output '{spec.name}' is {spec.datatype}, which has no JSON form; ask for binary data (binary_data_output in "
        "the request's parameters, or binary_data in the output's), or name only other outputs",
        "outputs",
    )
