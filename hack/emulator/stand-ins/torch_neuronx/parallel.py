"""torch_neuronx.DataParallel: one copy of a program on every core, a batch cut among them.

With dynamic batching (the default) a batch is cut into pieces of the traced size, so their number need not match
the cores'. Attributes and their defaults are AWS's ("PyTorch NeuronX DataParallel API").
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch

from torch_neuronx.operators import model_of
from torch_neuronx.runtime import runtime
from torch_neuronx.structure import flatten, rebuilt
from torch_neuronx.tracing import dynamic_batch


class DataParallel(torch.nn.Module):
    def __init__(
        self,
        model: torch.jit.ScriptModule,
        device_ids: Sequence[int | str] | None = None,
        dim: int = 0,
        set_dynamic_batching: bool = True,
    ) -> None:
        super().__init__()
        if dim != 0 and set_dynamic_batching:
            raise ValueError("dynamic batching needs dim=0")
        self.device_ids = [_number(device) for device in device_ids or range(len(runtime().cores))]
        self.dim = dim
        self.num_workers = 2 * len(self.device_ids)
        batch_size = model_of(model).header.batch_size
        self.split_size = batch_size if set_dynamic_batching else None
        self._dynamic = set_dynamic_batching
        self._copies = [_copy(model, device, dynamic=set_dynamic_batching) for device in self.device_ids]

    def forward(self, *inputs: torch.Tensor) -> object:
        size = self.split_size or -(-inputs[0].shape[self.dim] // len(self._copies))
        pieces = list(zip(*(given.split(size, self.dim) for given in inputs), strict=True))
        with ThreadPoolExecutor(self.num_workers) as workers:
            running = [
                workers.submit(self._copies[number % len(self._copies)], *piece) for number, piece in enumerate(pieces)
            ]
            answers = [call.result() for call in running]
        flat = [torch.cat(parts, self.dim) for parts in zip(*(flatten(answer) for answer in answers), strict=True)]
        return rebuilt(answers[0], flat)


def _copy(model: torch.jit.ScriptModule, device: int, *, dynamic: bool) -> torch.jit.ScriptModule:
    buffer = io.BytesIO()
    torch.jit.save(model, buffer)
    buffer.seek(0)
    copied = torch.jit.load(buffer)
    model_of(copied).move(device, 1)
    return dynamic_batch(copied) if dynamic else copied


def _number(device: int | str) -> int:
    return int(device.removeprefix("nc:")) if isinstance(device, str) else device
