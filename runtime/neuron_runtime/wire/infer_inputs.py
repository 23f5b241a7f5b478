"""One input of a model out of an inference request, JSON or binary. Pure; called by the requests' codec.

On the path of every request: what depends on the model alone is prepared once, and what is wrong is put into words only
when something is. Every refusal names the input's place in the request and its name.
"""

from typing import NoReturn

from neuron_runtime.buckets import check_shape
from neuron_runtime.bundle import TensorSpec
from neuron_runtime.errors import InvalidRequestError
from neuron_runtime.tensors import Array, TensorDataError
from neuron_runtime.wire.binary_tensors import HEADER_LENGTH_NAME, BinaryPart
from neuron_runtime.wire.json_body import JsonObject, type_word
from neuron_runtime.wire.json_tensors import array_from_json

SHARED_MEMORY = "shared_memory_region"
_LONGEST_QUOTED = 128
_MOST_DIMENSIONS = 32


class InputReader:
    def __init__(self, spec: TensorSpec) -> None:
        self.name = spec.name
        self._spec = spec
        self._datatype: str = spec.datatype
        self._shape = spec.shape

    def read(self, tensor: JsonObject, index: int, binary: BinaryPart | None, *, has_booleans: bool) -> Array:
        """The tensor object's data, from the JSON or from `binary`; `index` is its place in the request."""
        if tensor.get("datatype") != self._datatype:
            found = quoted(tensor.get("datatype"))
            raise self._refusal(index, f"has datatype {found}, the model takes {self._datatype}")
        shape = tensor.get("shape")
        if type(shape) is not list or not self._takes(shape):
            self._refuse_shape(index, shape)
        parameters = tensor.get("parameters")
        size = None if parameters is None else self._binary_size(index, parameters)
        try:
            if size is None:
                data = self._data(index, tensor)
                return array_from_json(data, self._datatype, shape, has_booleans=has_booleans)
            self._check_in_binary(index, tensor, binary)
            assert binary is not None, "checked just now"
            return binary.take(size, self._datatype, shape)
        except TensorDataError as error:
            raise self._refusal(index, str(error)) from None

    def _takes(self, shape: list[object]) -> bool:
        if len(shape) != len(self._shape):
            return False
        for size, taken in zip(shape, self._shape, strict=True):
            if type(size) is not int or size < 1 or (size != taken and taken != -1):
                return False
        return True

    def _refuse_shape(self, index: int, shape: object) -> NoReturn:
        if not isinstance(shape, list) or any(type(size) is not int for size in shape):
            raise self._refusal(index, "shape must be a list of whole numbers")
        if len(shape) > _MOST_DIMENSIONS:
            raise self._refusal(index, f"shape has {len(shape)} dimensions, the model takes {list(self._shape)}")
        check_shape(self._spec, tuple(shape), self._place(index))
        raise AssertionError("check_shape lets pass what _takes refuses")

    def _binary_size(self, index: int, parameters: object) -> int | None:
        if not isinstance(parameters, dict):
            raise self._refusal(index, f"parameters must be an object, not {type_word(parameters)}")
        if SHARED_MEMORY in parameters:
            raise self._refusal(index, "shared memory is not supported; send the data with the request")
        size = parameters.get("binary_data_size")
        if size is not None and (type(size) is not int or size < 0):
            raise self._refusal(index, "binary_data_size must be a whole number of 0 or more")
        return size

    def _data(self, index: int, tensor: JsonObject) -> object:
        if "data" not in tensor:
            raise self._refusal(index, "data is missing")
        return tensor["data"]

    def _check_in_binary(self, index: int, tensor: JsonObject, binary: BinaryPart | None) -> None:
        if binary is None:
            raise self._refusal(
                index, f"binary_data_size is given, but the header {HEADER_LENGTH_NAME} is not; send it with both"
            )
        if "data" in tensor:
            raise self._refusal(index, "data and binary_data_size are both given; send one of them")

    def _place(self, index: int) -> str:
        return f"inputs[{index}] ('{self.name}')"

    def _refusal(self, index: int, what: str) -> InvalidRequestError:
        return InvalidRequestError(f"{self._place(index)}: {what}", f"inputs[{index}]")


def quoted(value: object) -> str:
    """A name as the client gave it, within bounds."""
    if not isinstance(value, str):
        return type_word(value)
    return f"'{value}'" if len(value) <= _LONGEST_QUOTED else f"'{value[:_LONGEST_QUOTED]}…'"
