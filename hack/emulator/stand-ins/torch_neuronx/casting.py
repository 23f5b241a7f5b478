"""Makes a model compute as neuronx-cc would under --auto-cast, on the CPU.

`matmult` casts at the matrix multiplications (torch's autocast while tracing puts the casts into the graph); `all`
casts the weights and inputs too. Outputs come back in the dtypes of the model itself. Used by `tracing` only.
"""

import copy
from collections.abc import Callable, Sequence

import torch

from torch_neuronx.compiler_options import CompilerOptions

_CAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

Flat = tuple[torch.Tensor, ...]


class CastModel(torch.nn.Module):
    """The model with flat tuples of tensors in and out, cast as the options say."""

    def __init__(
        self,
        func: Callable[..., object],
        options: CompilerOptions,
        flatten: Callable[[object], Sequence[torch.Tensor]],
        output_dtypes: Sequence[torch.dtype],
    ) -> None:
        super().__init__()
        self._dtype = _cast_type(options)
        self._casts_all = options.auto_cast == "all" and self._dtype is not None
        self._flatten = flatten
        self._output_dtypes = output_dtypes
        if self._casts_all and isinstance(func, torch.nn.Module):
            func = copy.deepcopy(func).to(self._dtype)
        self.func = func

    def forward(self, *inputs: torch.Tensor) -> Flat:
        if self._casts_all:
            inputs = tuple(given.to(self._dtype) if given.dtype == torch.float32 else given for given in inputs)
        # Without its cache of casts, which would freeze one input's cast weights into the traced graph twice.
        with torch.autocast("cpu", dtype=self._dtype, enabled=self._dtype is not None, cache_enabled=False):
            outputs = self._flatten(self.func(*inputs))
        return tuple(output.to(dtype) for output, dtype in zip(outputs, self._output_dtypes, strict=True))


def _cast_type(options: CompilerOptions) -> torch.dtype | None:
    if options.auto_cast == "none" or options.auto_cast_type == "tf32":  # no CPU type is like tf32: left in float32
        return None
    if options.auto_cast_type not in _CAST_TYPES:
        raise NotImplementedError(f"the emulator cannot cast to {options.auto_cast_type}; see docs/fidelity.md")
    return _CAST_TYPES[options.auto_cast_type]
