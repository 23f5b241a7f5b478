"""MLServer's own types against a running server. A program of its own, because MLServer does not fit into this
environment: `python mlserver_exchange.py FOLDER URL MODEL`, with the folder that its wheel was unpacked to.

Prints what it saw as JSON; a body that MLServer's types refuse, or of which they drop a part, ends it with an error.
"""

import importlib
import json
import sys
import types
import urllib.error
import urllib.request
from typing import Any


def import_types(folder: str) -> Any:
    """mlserver.types alone: the package's own __init__ imports the whole server and all it is built on."""
    package = types.ModuleType("mlserver")
    package.__path__ = [f"{folder}/mlserver"]
    sys.modules["mlserver"] = package
    return importlib.import_module("mlserver.types")


def exchange(url: str, body: str | None = None) -> tuple[int, Any]:
    request = urllib.request.Request(url, data=body.encode() if body is not None else None)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def validated(model: Any, document: Any) -> Any:
    """The document as the type; nothing of it may be unknown to the type."""
    value = model.model_validate(document)
    kept = json.loads(value.model_dump_json())
    if kept != document:
        raise SystemExit(f"{model.__name__} keeps {kept} of {document}")
    return value


def main() -> None:
    folder, url, name = sys.argv[1:]
    mlserver = import_types(folder)
    server = validated(mlserver.MetadataServerResponse, exchange(f"{url}/v2")[1])
    metadata = validated(mlserver.MetadataModelResponse, exchange(f"{url}/v2/models/{name}")[1])
    request = mlserver.InferenceRequest(
        id="from-mlserver",
        inputs=[
            mlserver.RequestInput(
                name=tensor.name,
                datatype=tensor.datatype,
                shape=[2, *tensor.shape[1:]],
                parameters=mlserver.Parameters(content_type="np"),
                data=[[True, False, True]] * 2 if tensor.datatype == "BOOL" else [[1, 2, 3]] * 2,
            )
            for tensor in metadata.inputs
        ],
        outputs=[mlserver.RequestOutput(name=tensor.name) for tensor in reversed(metadata.outputs)],
    )
    status, document = exchange(f"{url}/v2/models/{name}/infer", request.model_dump_json())
    response = validated(mlserver.InferenceResponse, document)
    refused, told = exchange(f"{url}/v2/models/{name}/infer", '{"inputs": []}')
    error = validated(mlserver.InferenceErrorResponse, told)
    seen = {
        "extensions": server.extensions,
        "status": status,
        "id": response.id,
        "outputs": {output.name: list(output.data) for output in response.outputs},
        "refused": [refused, error.error],
    }
    sys.stdout.write(json.dumps(seen))


if __name__ == "__main__":
    main()
