"""What a compiled program is here: the traced CPU module as bytes, and a header that fixes its shapes and dtypes.

Stands where a NEFF stands on silicon. Made by `tracing`, run by `runtime`.
"""

import ctypes
import io
import json
from dataclasses import asdict, dataclass

import torch


@dataclass(frozen=True)
class TensorShape:
    shape: tuple[int, ...]
    dtype: str

    @classmethod
    def of(cls, tensor: torch.Tensor) -> "TensorShape":
        return cls(tuple(tensor.shape), str(tensor.dtype))


@dataclass(frozen=True)
class Header:
    """Travels in the saved file beside the program's bytes."""

    name: str
    uuid: str
    inputs: tuple[TensorShape, ...]
    operations: float
    target: str

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Header":
        raw = json.loads(text)
        raw["inputs"] = tuple(TensorShape(tuple(item["shape"]), item["dtype"]) for item in raw["inputs"])
        return cls(**raw)

    @property
    def batch_size(self) -> int:
        return self.inputs[0].shape[0] if self.inputs and self.inputs[0].shape else 1

    def refuse_other_shapes(self, given: list[torch.Tensor]) -> None:
        """Raise unless the tensors are exactly what the program was compiled for."""
        if len(given) != len(self.inputs):
            raise RuntimeError(f"Expected {len(self.inputs)} input tensors, received {len(given)}")
        for index, (tensor, expected) in enumerate(zip(given, self.inputs, strict=True)):
            if tuple(tensor.shape) != expected.shape:
                raise RuntimeError(
                    f"Incorrect tensor shape at input tensor #{index}: received {_sizes(tensor.shape)}, "
                    f"expected {_sizes(expected.shape)}"
                )
            if str(tensor.dtype) != expected.dtype:
                raise RuntimeError(
                    f"Incorrect tensor type at input tensor #{index}: received {tensor.dtype}, "
                    f"expected {expected.dtype}"
                )


def to_bytes(module: torch.jit.ScriptModule) -> torch.Tensor:
    buffer = io.BytesIO()
    torch.jit.save(module, buffer)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def content(program: torch.Tensor) -> bytes:
    """The bytes in the tensor; numpy may be absent, and bytes(storage) would go through them one at a time."""
    return ctypes.string_at(program.data_ptr(), program.numel())


def from_bytes(program: torch.Tensor) -> torch.jit.ScriptModule:
    module = torch.jit.load(io.BytesIO(content(program)))
    assert isinstance(module, torch.jit.ScriptModule), "to_bytes() wrote a ScriptModule"
    return module.eval()


def _sizes(shape: tuple[int, ...] | torch.Size) -> str:
    return " ".join(str(size) for size in shape)
