"""The request every server is sent: one row of 16 numbers, in that server's own envelope. Pure."""

import dataclasses
import json

VALUES = tuple(round(0.1 * number, 1) for number in range(1, 17))


@dataclasses.dataclass(frozen=True)
class Request:
    path: str
    body: bytes


def open_inference(model: str) -> Request:
    """Open Inference Protocol v2, JSON: this runtime and MLServer."""
    tensor = {"name": "input", "shape": [1, len(VALUES)], "datatype": "FP32", "data": VALUES}
    return Request(f"/v2/models/{model}/infer", _dumped({"inputs": [tensor]}))


def plain(path: str) -> Request:
    """{"values": [...]}: servers that leave the envelope to their user."""
    return Request(path, _dumped({"values": VALUES}))


def plain_batch(path: str) -> Request:
    """{"values": [[...]]}: a batch of one row, where the server wants batches."""
    return Request(path, _dumped({"values": [VALUES]}))


def _dumped(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
