"""Programs on a NeuronCore. The only module of the product that imports torch_neuronx; only workers import this one.

Importing torch_neuronx registers the operator that compiled programs consist of; torch.jit.load then places them on
the one core this process can see (NEURON_RT_VISIBLE_CORES, set by the front process for each worker).
"""

import importlib
import time
from collections.abc import Sequence

from neuron_runtime import nrt
from neuron_runtime.engines.torchscript import TorchScriptEngine
from neuron_runtime.messages import Start
from neuron_runtime.tensors import Array
from neuron_runtime.termination import FatalError, Reason

RETRY_PAUSES_SECONDS = (0.05, 0.2, 0.5)
"""Before another try of a call that failed for a transient reason, such as a full queue of the core."""


class NeuronEngine(TorchScriptEngine):
    def __init__(self, start: Start) -> None:
        try:
            library = importlib.import_module("torch_neuronx")
        except ImportError as error:
            raise FatalError(
                Reason.MODEL_LOAD_FAILED,
                f"torch_neuronx cannot be imported: {error}",
                hint="run AWS's Neuron PyTorch inference image, or choose the cpu engine for a CPU program",
            ) from error
        if not hasattr(library, "trace"):
            raise FatalError(
                Reason.MODEL_LOAD_FAILED,
                f"the installed torch_neuronx {getattr(library, '__version__', '')} has no trace: it is the public "
                "index's placeholder or the release line for Trn2 and later",
                hint="install torch-neuronx 2.9 from AWS's index, or use AWS's Neuron PyTorch inference image",
            )
        super().__init__(start)

    def run(self, bucket: int, inputs: Sequence[Array]) -> list[Array]:
        for pause in RETRY_PAUSES_SECONDS:
            try:
                return super().run(bucket, inputs)
            except RuntimeError as error:
                if nrt.classify(str(error)).action is not nrt.Action.RETRY:
                    raise
            time.sleep(pause)
        return super().run(bucket, inputs)
