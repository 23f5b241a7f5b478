"""Open Inference Protocol v2 over REST: the codec of one model's inferences, metadata, errors. Pure.

Requests are `infer_request`, answers `infer_response`; tensors within them `json_tensors` and `binary_tensors`.
"""

from neuron_runtime import __version__
from neuron_runtime.bundle import TensorSpec
from neuron_runtime.errors import RuntimeServingError
from neuron_runtime.served_model import ServedModel
from neuron_runtime.wire.infer_request import RequestCodec
from neuron_runtime.wire.infer_response import ResponseCodec
from neuron_runtime.wire.json_body import JsonObject, dump

EXTENSIONS = ("binary_tensor_data",)


class OpenInferenceCodec:
    """`parse` a request's body into a call, `encode` its answer; made once for a model and kept."""

    def __init__(self, model: ServedModel) -> None:
        self.parse = RequestCodec(model).parse
        self.encode = ResponseCodec(model).encode


def server_metadata() -> JsonObject:
    return {"name": "neuron-runtime", "version": __version__, "extensions": EXTENSIONS}


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
