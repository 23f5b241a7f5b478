"""torch_neuronx.trace and the switches that go into a saved program (AWS: "PyTorch NeuronX Tracing API").

The result is a ScriptModule whose graph is one call of neuron::forward_v2. Loading its file runs its __setstate__,
which places the program on a core: that is why a busy core fails in torch.jit.load, as on silicon.
"""

import uuid
from collections.abc import Callable
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from torch_neuronx.casting import CastModel
from torch_neuronx.compiler_options import parse_compiler_args
from torch_neuronx.operators import model_of
from torch_neuronx.program import Header, TensorShape, content, to_bytes
from torch_neuronx.structure import flatten, rebuilding_code

# Documented options that the emulator takes at their defaults only.
_UNIMITATED: dict[str, object] = {
    "input_output_aliases": {},
    "partitioner_config": None,
    "inline_weights_to_neff": True,
}

_STATE_METHODS = """
def __getstate__(self):
    return (self.program, self.header, self.when, self.rows, self.training)

def __setstate__(self, state: Tuple[Tensor, str, str, int, bool]) -> None:
    self.program = state[0]
    self.header = state[1]
    self.when = state[2]
    self.rows = state[3]
    self.training = state[4]
    self.handle = torch.ops.neuron.load_v2(self.program, self.header, self.when)
"""


class NeuronModule(torch.nn.Module):
    """The state of a saved program; its methods are written per program, because TorchScript has no *args."""

    program: torch.Tensor
    handle: torch.Tensor
    header: str
    when: str  # it is loaded: now, async or lazy
    rows: int  # of a dynamic batch; 0 for a fixed one

    def __init__(self, program: torch.Tensor, header: str) -> None:
        super().__init__()
        self.program, self.header, self.when, self.rows = program, header, "now", 0
        self.handle = torch.ops.neuron.load_v2(program, header, "lazy")


def trace(
    func: Callable[..., object],
    example_inputs: torch.Tensor | tuple[torch.Tensor, ...] | list[torch.Tensor],
    *,
    compiler_workdir: str | Path | None = None,
    compiler_args: str | list[str] | None = None,
    cpu_backend: bool = False,
    **unimitated: object,
) -> torch.jit.ScriptModule:
    """Compile `func` for exactly the shapes and dtypes of the example inputs."""
    for option, value in unimitated.items():
        if option not in _UNIMITATED:
            raise TypeError(f"trace() got an unexpected keyword argument {option!r}")
        if value != _UNIMITATED[option]:
            raise NotImplementedError(f"the emulator's trace() has no {option}={value!r}; see docs/fidelity.md")
    options = parse_compiler_args(compiler_args)
    if cpu_backend and "--target" not in str(compiler_args):
        raise ValueError('cpu_backend=True needs compiler_args with "--target", there being no device to ask')
    inputs = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
    if not all(isinstance(given, torch.Tensor) for given in inputs):
        raise TypeError("example_inputs is a tensor or a tuple of tensors")
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        answer = func(*inputs)
    with torch.no_grad():
        model = CastModel(func, options, flatten, [tensor.dtype for tensor in flatten(answer)]).eval()
        traced = torch.jit.trace(model, inputs, strict=False, check_trace=False)
    header = Header(
        name=type(func).__name__ if isinstance(func, torch.nn.Module) else getattr(func, "__name__", "function"),
        uuid=uuid.uuid4().hex,
        inputs=tuple(TensorShape.of(given) for given in inputs),
        operations=float(counted.get_total_flops()),
        target=options.target,
    )
    program = to_bytes(traced)
    if compiler_workdir is not None:
        _leave_compiler_files(Path(compiler_workdir), header, program)
    return _scripted(program, header, answer)


def lazy_load(trace: torch.jit.ScriptModule, enable_lazy_load: bool = True) -> torch.jit.ScriptModule:
    """Load at the first execution; call it before saving."""
    return _load_when(trace, "lazy" if enable_lazy_load else "now")


def async_load(trace: torch.jit.ScriptModule, enable_async_load: bool = True) -> torch.jit.ScriptModule:
    """Load in a thread of its own, so that torch.jit.load returns before the program is on its core."""
    return _load_when(trace, "async" if enable_async_load else "now")


def dynamic_batch(trace: torch.jit.ScriptModule) -> torch.jit.ScriptModule:
    """Take any number of rows: the runtime cuts and pads them to the traced batch size."""
    trace.rows = model_of(trace).header.batch_size
    return trace


def _load_when(trace: torch.jit.ScriptModule, when: str) -> torch.jit.ScriptModule:
    model_of(trace)
    trace.when = when
    return trace


def _scripted(program: torch.Tensor, header: Header, answer: object) -> torch.jit.ScriptModule:
    # A class per program: TorchScript shares one compiled type among the instances of a class, and its methods too.
    one_of_a_kind = type("NeuronModule", (NeuronModule,), {})
    module = torch.jit.script(one_of_a_kind(program, header.to_json()))
    names = [f"argument_{number}" for number in range(1, len(header.inputs) + 1)]
    forward = (
        f"def forward(self, {', '.join(names)}):\n"
        f"    flat = torch.ops.neuron.forward_v2([{', '.join(names)}], self.handle, self.rows)\n"
        f"    return {rebuilding_code(answer)}\n"
    )
    for source in (forward, *_STATE_METHODS.strip().split("\n\n")):
        module.define(source + "\n")
    module.eval()
    assert isinstance(module, torch.jit.ScriptModule), "torch.jit.script of a module gives a ScriptModule"
    return module


def _leave_compiler_files(directory: Path, header: Header, program: torch.Tensor) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "graph.neff").write_bytes(content(program))
    (directory / "header.json").write_text(header.to_json())
