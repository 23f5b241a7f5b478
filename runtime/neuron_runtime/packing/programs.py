"""Loads a TorchScript program and finds out by running it which shapes it takes and what it returns.

Neuron programs have fixed shapes and refuse all others, so trying sizes finds the one. A plain TorchScript program may
take any size; then the offered batch sizes become buckets of the same file. Used by `pack`; the only place outside the
engines that imports torch.
"""

import importlib
import itertools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from neuron_runtime.bundle import TensorSpec
from neuron_runtime.termination import FatalError, Reason

BATCH_SIZES = (*range(1, 17), 20, 24, 32, 48, 64, 96, 128, 192, 256)
OTHER_SIZES = (128, 64, 32, 16, 256, 384, 512, 1024, 2048)
DEFAULT_OFFER = (1, 8)
# How serialized code names the operators and classes that importing torch_neuronx registers.
_NEURON_NAMES = re.compile(rb"(ops|classes)\.neuron\b")
_ERROR_LINE = re.compile(r"(\w+\.)*\w*(Error|Exception): ")
_TORCH = {
    "BOOL": torch.bool,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "UINT8": torch.uint8,
    "FP16": torch.float16,
    "BF16": torch.bfloat16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}
_DATATYPES = {dtype: name for name, dtype in _TORCH.items()}

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Output:
    """One tensor that a program returned. `name` where it returned a dictionary."""

    name: str | None
    datatype: str
    shape: tuple[int, ...]
    has_unit_rows: bool


@dataclass(frozen=True)
class Program:
    """A program that ran: `shapes` and `outputs` for each size it takes, one unless it is `flexible`."""

    path: Path
    needs_neuron: bool
    flexible: bool
    runs: tuple[tuple[Shapes, tuple[Output, ...]], ...]


def try_program(path: Path, inputs: Sequence[TensorSpec], batch_sizes: tuple[int, ...] | None) -> Program:
    """`batch_sizes` are the only ones tried for a batch of -1; None tries the usual ones."""
    module, needs_neuron = _load(path)
    fixed = inputs[0].shape[0]
    tried = (fixed,) if fixed != -1 else batch_sizes or BATCH_SIZES
    refusals: dict[str, str] = {}
    for shapes in _candidates(inputs, tried):
        outputs = _attempt(module, inputs, shapes, refusals)
        if outputs is None:
            continue
        first = (shapes, outputs)
        if fixed != -1 or not _takes(module, inputs, _other_batch(shapes)):
            return Program(path, needs_neuron, flexible=False, runs=(first,))
        _refuse_free_sizes(path, inputs)
        offered = [_with_batch(shapes, size) for size in batch_sizes or DEFAULT_OFFER]
        runs = [(shape, _attempt(module, inputs, shape, refusals)) for shape in offered]
        return Program(
            path, needs_neuron, flexible=True, runs=tuple((s, found) for s, found in runs if found is not None)
        )
    raise _nothing_fits(path, inputs, tried, refusals)


def _load(path: Path) -> tuple[Any, bool]:
    if not path.is_file():
        raise FatalError(Reason.ARTIFACT_NOT_FOUND, f"There is no file {path}.", hint="Check the path.")
    if not _calls_neuron(path):
        try:
            return _jit_load(path), False
        except RuntimeError as error:
            raise FatalError(
                Reason.MODEL_LOAD_FAILED,
                f"{path} is not a TorchScript program: {_telling_line(error)}",
                hint="Save the result of torch_neuronx.trace or torch.jit.trace with torch.jit.save; a state_dict or a "
                "pickled module will not do.",
            ) from error
    try:
        importlib.import_module("torch_neuronx")
    except ImportError as error:
        raise FatalError(
            Reason.MODEL_LOAD_FAILED,
            f"{path} is a compiled Neuron program, but torch_neuronx cannot be imported here: {error}.",
            hint="Run pack where it was traced (an inf2 instance, AWS's Neuron PyTorch image). On other machines the "
            "emulator of this repository loads what the emulator traced: put hack/emulator/stand-ins on PYTHONPATH.",
        ) from error
    try:
        return _jit_load(path), True
    except RuntimeError as error:
        raise FatalError(
            Reason.MODEL_LOAD_FAILED,
            f"torch_neuronx did not load {path}: {_telling_line(error)}",
            hint="It needs a free NeuronCore and the torch_neuronx release line it was traced with.",
        ) from error


def _calls_neuron(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(_NEURON_NAMES.search(archive.read(name)) for name in archive.namelist() if name.endswith(".py"))


def _jit_load(path: Path) -> Any:
    with warnings.catch_warnings():
        # torch 2.9 announces the end of TorchScript; it is what torch_neuronx.trace saves on that release.
        warnings.filterwarnings("ignore", message=r"`?torch\.jit\.load`? is", category=DeprecationWarning)
        load: Any = torch.jit.load  # it carries no annotations
        return load(str(path), map_location="cpu").eval()


def _candidates(inputs: Sequence[TensorSpec], batch_sizes: Sequence[int]) -> Iterator[Shapes]:
    """Free sizes at the same place of several inputs are one size: input_ids and attention_mask share the sequence."""
    places = sorted({place for tensor in inputs for place, size in enumerate(tensor.shape) if place and size == -1})
    for others in itertools.product(OTHER_SIZES, repeat=len(places)):
        chosen = dict(zip(places, others, strict=True))
        for batch in batch_sizes:
            yield {
                tensor.name: (
                    batch,
                    *(size if size != -1 else chosen[place] for place, size in enumerate(tensor.shape) if place),
                )
                for tensor in inputs
            }


def _attempt(
    module: Any, inputs: Sequence[TensorSpec], shapes: Shapes, refusals: dict[str, str]
) -> tuple[Output, ...] | None:
    try:
        with torch.inference_mode():
            returned = module(*(_example(tensor, shapes[tensor.name]) for tensor in inputs))
    # The class differs by where the refusal comes from: the operator, the interpreter or a kernel.
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        refusals[str(list(shapes.values()))] = _telling_line(error)
        return None
    named = list(returned.items()) if isinstance(returned, Mapping) else [(None, tensor) for tensor in _tuple(returned)]
    batch = next(iter(shapes.values()))[0]
    if any(tensor.ndim == 0 or tensor.shape[0] != batch for _, tensor in named):
        refusals[str(list(shapes.values()))] = "an output does not have one row for each row of the batch"
        return None
    return tuple(_output(name, tensor) for name, tensor in named)


def _takes(module: Any, inputs: Sequence[TensorSpec], shapes: Shapes) -> bool:
    return _attempt(module, inputs, shapes, {}) is not None


def _example(tensor: TensorSpec, shape: tuple[int, ...]) -> torch.Tensor:
    """Values every model takes: 0 is an index of every vocabulary, a mask of zeros would hide the whole row."""
    dtype = _TORCH.get(tensor.datatype)
    if dtype is None:
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"Input {tensor.name} has the datatype {tensor.datatype}, which TorchScript programs do not take.",
            hint=f"Use one of {', '.join(_TORCH)}.",
        )
    if dtype.is_floating_point:
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    return torch.ones(shape, dtype=dtype) if "mask" in tensor.name else torch.zeros(shape, dtype=dtype)


def _output(name: str | None, tensor: torch.Tensor) -> Output:
    datatype = _DATATYPES.get(tensor.dtype)
    if datatype is None:
        raise FatalError(
            Reason.MODEL_LOAD_FAILED,
            f"The program returned a tensor of {tensor.dtype}, which has no Open Inference Protocol datatype.",
            hint="Cast it in the traced module.",
        )
    lengths = tensor.float().norm(dim=-1)
    unit = tensor.is_floating_point() and bool(torch.allclose(lengths, torch.ones_like(lengths), atol=0.02))
    return Output(name, datatype, tuple(tensor.shape), unit)


def _tuple(returned: Any) -> tuple[torch.Tensor, ...]:
    tensors = (returned,) if isinstance(returned, torch.Tensor) else tuple(returned)
    if not tensors or not all(isinstance(tensor, torch.Tensor) for tensor in tensors):
        raise TypeError("the program returns something other than tensors")
    return tensors


def _with_batch(shapes: Shapes, batch: int) -> Shapes:
    return {name: (batch, *shape[1:]) for name, shape in shapes.items()}


def _other_batch(shapes: Shapes) -> Shapes:
    return _with_batch(shapes, next(iter(shapes.values()))[0] + 1)


def _refuse_free_sizes(path: Path, inputs: Sequence[TensorSpec]) -> None:
    for tensor in inputs:
        if -1 in tensor.shape[1:]:
            raise FatalError(
                Reason.INVALID_CONFIGURATION,
                f"{path} takes any size of {tensor.name}, so trying cannot tell which you want.",
                hint=f"Say the size after the batch, such as --input {tensor.name}:{tensor.datatype}:-1,128.",
            )


def _nothing_fits(
    path: Path, inputs: Sequence[TensorSpec], tried: Sequence[int], refusals: Mapping[str, str]
) -> FatalError:
    shapes, said = next(iter(refusals.items()))
    wanted = ", ".join(f"{tensor.name} {tensor.datatype} {list(tensor.shape)}" for tensor in inputs)
    return FatalError(
        Reason.INVALID_CONFIGURATION,
        f"{path} runs with none of the shapes tried for {wanted} (batch sizes {', '.join(map(str, tried))}). "
        f"To {shapes} it said: {said}",
        hint="Give every input in trace order with the shape it was traced with; --batch-sizes names others to try.",
    )


def _telling_line(error: Exception) -> str:
    """TorchScript wraps the cause in the program's own traceback: the cause is the line that names an error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    named = [line for line in lines if _ERROR_LINE.match(line)]
    return (named[-1] if named else lines[0])[:300]
