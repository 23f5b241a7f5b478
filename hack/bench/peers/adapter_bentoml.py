"""Usage: bentoml serve bench.peers.adapter_bentoml:Rows. A process for each call in flight, and batches."""

import bentoml
import numpy as np
import numpy.typing as npt

from bench.peers.served_model import batch_size, calls, open_model


@bentoml.service(workers=calls(), traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Rows:
    def __init__(self) -> None:
        self.model = open_model()

    @bentoml.api(batchable=True, max_batch_size=batch_size(), max_latency_ms=60_000)
    def predict(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self.model(np.asarray(values, np.float32))
