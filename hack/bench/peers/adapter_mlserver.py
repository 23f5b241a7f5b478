"""Usage: python -m bench.peers.adapter_mlserver PORT GRPC_PORT. MLServer with a thread for each call in flight.

Its parallel workers were slower than threads whenever both were measured on two CPUs.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from bench.peers.served_model import BATCH_WINDOW_SECONDS, batch_size, calls, open_model


class Model(MLModel):
    async def load(self) -> bool:
        self.model = open_model()
        self.threads = ThreadPoolExecutor(calls())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        output = await asyncio.get_running_loop().run_in_executor(self.threads, self.model, rows)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("output", output)])


async def main() -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=int(sys.argv[1]),
        grpc_port=int(sys.argv[2]),
        metrics_endpoint=None,
        parallel_workers=0,
        debug=False,
    )
    model = ModelSettings(
        name="simulated", implementation=Model, max_batch_size=batch_size(), max_batch_time=BATCH_WINDOW_SECONDS
    )
    await MLServer(settings).start([model])


if __name__ == "__main__":
    asyncio.run(main())
