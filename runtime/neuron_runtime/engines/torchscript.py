"""TorchScript programs: numpy in, numpy out. The CPU engine as it is, and what the Neuron engine builds on.

The only module that imports torch at load. Neuron programs and plain ones are loaded by the same torch.jit.load;
what differs is whether torch_neuronx was imported before.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuron_runtime.messages import Start
from neuron_runtime.tensors import DTYPES, Array
from neuron_runtime.termination import FatalError, Reason

_BF16 = "BF16"


class TorchScriptEngine:
    def __init__(self, start: Start) -> None:
        self._start = start
        self._programs: list[Any] = []

    def load(self) -> None:
        # Every worker is a process of its own: torch's default of one thread per CPU in each would fight over them.
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        for program in self._start.programs:
            self._programs.append(self._load_program(Path(self._start.bundle) / program.file))

    def _load_program(self, path: Path) -> Any:
        with warnings.catch_warnings():
            # torch 2.9 announces the end of TorchScript; it is what torch_neuronx.trace saves on that release.
            warnings.filterwarnings("ignore", message=r"`?torch\.jit\.load`? is", category=DeprecationWarning)
            load: Any = torch.jit.load  # it carries no annotations
            return load(str(path), map_location="cpu")

    def run(self, bucket: int, inputs: Sequence[Array]) -> list[Array]:
        with torch.inference_mode():
            answer = self._programs[bucket](*map(self._tensor, inputs, self._start.input_datatypes))
        outputs = _as_sequence(answer)
        declared = self._start.output_datatypes
        if len(outputs) != len(declared):
            raise self._differs(bucket, f"returned {len(outputs)} tensors, model.json names {len(declared)} outputs")
        arrays = [self._array(output, datatype) for output, datatype in zip(outputs, declared, strict=True)]
        for index, (array, datatype) in enumerate(zip(arrays, declared, strict=True)):
            if array.dtype != DTYPES[datatype]:
                raise self._differs(bucket, f"returned {array.dtype} as output {index}, model.json declares {datatype}")
        return arrays

    @staticmethod
    def _tensor(array: Array, datatype: str) -> torch.Tensor:
        if datatype == _BF16:
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)

    @staticmethod
    def _array(output: torch.Tensor, datatype: str) -> Array:
        tensor = output.detach().cpu().contiguous()
        if tensor.dtype == torch.bfloat16 and datatype != _BF16:
            tensor = tensor.float()  # numpy has no bfloat16; every bfloat16 is a float32
        array: Array = tensor.view(torch.int16).numpy().view(np.uint16) if datatype == _BF16 else tensor.numpy()
        wanted = DTYPES[datatype]
        # Wider is the same number; narrower or of another kind would be another one, without a word.
        can_widen = array.dtype.kind == wanted.kind and np.can_cast(array.dtype, wanted, "safe")
        return array.astype(wanted, copy=False) if can_widen else array

    def _differs(self, bucket: int, what: str) -> FatalError:
        return FatalError(
            Reason.MODEL_LOAD_FAILED,
            f"the program does not match its bundle: {self._start.programs[bucket].file} {what}",
            hint="pack the bundle again from the program file, with the outputs it really has",
        )


def _as_sequence(answer: Any) -> list[torch.Tensor]:
    if isinstance(answer, torch.Tensor):
        return [answer]
    if isinstance(answer, dict):
        return list(answer.values())
    return list(answer)
