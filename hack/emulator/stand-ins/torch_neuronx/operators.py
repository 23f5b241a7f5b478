"""The custom operators of saved programs. Importing this module is what makes such a file loadable, as on silicon.

`neuron::load_v2` runs while torch.jit.load rebuilds a module; `neuron::forward_v2` is the one call in its graph.
Programs are known to TorchScript by a handle: a tensor that holds their number, whose end unloads them.
"""

import itertools
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from emulated_node.nrt import NrtError
from torch_neuronx.program import Header
from torch_neuronx.runtime import Model

_models: dict[int, Model] = {}
_numbers = itertools.count()
# What neuron_cores_context asks of loads inside it; process-wide, hence "not thread-safe" as documented.
placement_request: list[tuple[int, int]] = [(-1, -1)]


def load(program: torch.Tensor, header: str, when: str) -> torch.Tensor:
    """`when`: now, async or lazy. Returns the handle."""
    first_core, core_count = placement_request[-1]
    model = Model(Header.from_json(header), program, first_core, core_count)
    if when == "now":
        with _plain_errors():
            model.load()
    elif when == "async":
        threading.Thread(target=model.load, name="neuron-async-load", daemon=True).start()
    number = next(_numbers)
    _models[number] = model
    handle = torch.tensor(number)
    weakref.finalize(handle, _forget, number).atexit = False
    return handle


def forward(inputs: list[torch.Tensor], handle: torch.Tensor, rows: int) -> list[torch.Tensor]:
    """`rows`: the traced batch size when any batch may come (dynamic_batch), else 0."""
    model = _models[int(handle)]
    given = inputs[0].shape[0] if inputs and inputs[0].dim() else 0
    with _plain_errors():
        if not rows or given == rows:
            return model.execute(inputs)
        parts = [model.execute(_padded(inputs, start, rows)) for start in range(0, given, rows)]
    return [torch.cat(outputs)[:given] for outputs in zip(*parts, strict=True)]


@contextmanager
def _plain_errors() -> Iterator[None]:
    """Callers get a bare RuntimeError, as from the real operators, and can't come to rely on more."""
    try:
        yield
    except NrtError as error:
        raise RuntimeError(str(error)) from None


def _padded(inputs: list[torch.Tensor], start: int, rows: int) -> list[torch.Tensor]:
    taken = [tensor[start : start + rows] for tensor in inputs]
    return [torch.cat([part, part.new_zeros((rows - part.shape[0], *part.shape[1:]))]) for part in taken]


def model_of(module: torch.jit.ScriptModule) -> Model:
    handle = getattr(module, "handle", None)
    if not isinstance(handle, torch.Tensor) or int(handle) not in _models:
        raise TypeError(f"{type(module).__name__} is no module that torch_neuronx.trace made")
    return _models[int(handle)]


def _forget(number: int) -> None:
    model = _models.pop(number)
    model.unload()


_library = torch.library.Library("neuron", "DEF")
_library.define("load_v2(Tensor program, str header, str when) -> Tensor")
_library.define("forward_v2(Tensor[] inputs, Tensor handle, int rows) -> Tensor[]")
_library.impl("load_v2", load, "CompositeExplicitAutograd")
_library.impl("forward_v2", forward, "CompositeExplicitAutograd")
