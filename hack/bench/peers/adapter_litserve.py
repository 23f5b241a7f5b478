"""Usage: python -m bench.peers.adapter_litserve PORT. LitServe with a process for each call in flight, and batches."""

import sys
from typing import Any

import litserve
import numpy as np

from bench.peers.served_model import BATCH_WINDOW_SECONDS, Rows, batch_size, calls, open_model


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = open_model()

    def decode_request(self, request: dict[str, Any]) -> Rows:
        return np.array(request["values"], np.float32)

    def batch(self, inputs: list[Rows]) -> Rows:
        return np.stack(inputs)

    def predict(self, rows: Rows) -> Rows:
        return self.model(rows)

    def unbatch(self, output: Rows) -> list[Rows]:
        return list(output)

    def encode_response(self, output: Rows) -> dict[str, list[float]]:
        return {"output": output.tolist()}


if __name__ == "__main__":
    api = Api(max_batch_size=batch_size(), batch_timeout=BATCH_WINDOW_SECONDS)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=calls(), fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", generate_client_file=False)
