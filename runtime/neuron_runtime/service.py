"""What the routes talk to: the served model with everything that answers for it. Assembled once by `serving`.

It holds no rule of its own beyond "not ready is refused before anything is read".
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from neuron_runtime.admission import Admission
from neuron_runtime.batcher import Batcher
from neuron_runtime.errors import InvalidRequestError, NotReadyError
from neuron_runtime.health import Readiness, readiness
from neuron_runtime.metrics import Metrics
from neuron_runtime.pool import Pool
from neuron_runtime.served_model import ServedModel
from neuron_runtime.settings import ServeSettings
from neuron_runtime.tensors import Array
from neuron_runtime.tokens import EncodedTexts, TextEncoder, TextTooLongError
from neuron_runtime.wire.open_inference import OpenInferenceCodec


@dataclass
class Service:
    settings: ServeSettings
    model: ServedModel
    admission: Admission
    batcher: Batcher
    pool: Pool
    metrics: Metrics
    encoder: TextEncoder | None
    created: int
    """When this server started, in seconds since the epoch; /v1/models shows it."""
    is_draining: bool = field(default=False)
    open_inference: OpenInferenceCodec = field(init=False)

    def __post_init__(self) -> None:
        self.open_inference = OpenInferenceCodec(self.model)

    def readiness(self) -> Readiness:
        return readiness(self.pool.states(), is_draining=self.is_draining)

    def check_admittable(self) -> None:
        """Refuse before the body is read: no worker now or soon, or no room for even one row. A draining pod still
        answers."""
        if not self.batcher.has_worker and not self.pool.is_replacing():
            raise NotReadyError(f"the model cannot be served now: {self.readiness().reason}")
        self.admission.check_room()

    async def encode(self, texts: Sequence[str], field: str) -> EncodedTexts:
        """Token ids of the texts, made off the event loop; InvalidRequestError names the too long one of `field`."""
        assert self.encoder is not None, "text endpoints are only reached by models with a tokenizer"
        began = time.monotonic()
        try:
            encoded = await asyncio.to_thread(self.encoder.encode, texts)
        except TextTooLongError as error:
            raise InvalidRequestError(str(error), f"{field}[{error.index}]") from None
        self.metrics.tokenize_seconds.observe(time.monotonic() - began)
        return encoded

    def arrays_in_order(self, encoded: EncodedTexts) -> list[Array]:
        return [encoded.arrays[spec.name] for spec in self.model.inputs]
