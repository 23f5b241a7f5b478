"""Text to the model's integer inputs, with the bundle's own Hugging Face tokenizer. The front process calls it.

A text longer than every bucket is refused with TextTooLongError: it is cut only where the bundle says `truncate`, never
silently. What tokenizer.json says of padding and truncation is ignored, for it describes training, not our buckets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from neuron_runtime.artifacts import Bundle
from neuron_runtime.bundle import Manifest, TensorSpec, TextSpec
from neuron_runtime.termination import FatalError, Reason

TEXT_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_DTYPES: dict[str, type[np.integer[Any]]] = {"INT32": np.int32, "INT64": np.int64}


class TextTooLongError(ValueError):
    """The text has more tokens than the longest sequence any bucket holds."""

    def __init__(self, index: int, tokens: int, limit: int) -> None:
        super().__init__(
            f"text {index} has {tokens} tokens (special tokens included), but this model takes at most {limit}; "
            "shorten or split it"
        )
        self.index = index
        self.tokens = tokens
        self.limit = limit


@dataclass(frozen=True)
class EncodedTexts:
    """One row a text, in order, padded to one of the model's sequence lengths."""

    arrays: dict[str, NDArray[np.integer[Any]]]
    token_counts: tuple[int, ...]

    @property
    def sequence_length(self) -> int:
        return int(next(iter(self.arrays.values())).shape[1])


class TextEncoder:
    """Thread-safe: nothing changes after construction, and the tokenizer releases the GIL while it works."""

    def __init__(
        self, tokenizer: Tokenizer, spec: TextSpec, inputs: Sequence[TensorSpec], sequence_lengths: Sequence[int]
    ) -> None:
        self.sequence_lengths = tuple(sorted(set(sequence_lengths)))
        self.max_tokens = self.sequence_lengths[-1]
        self._spec = spec
        self._dtypes = {tensor.name: _DTYPES[tensor.datatype] for tensor in inputs}
        self._tokenizer = tokenizer
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if spec.truncate:
            tokenizer.enable_truncation(self.max_tokens)

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Self:
        manifest = bundle.manifest
        assert manifest.text is not None, (
            "only text tasks have an encoder, and Manifest makes them carry their TextSpec"
        )
        path = bundle.path(manifest.text.tokenizer)
        return cls(load_tokenizer(path), manifest.text, manifest.inputs, sequence_lengths(manifest))

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """Pads to the shortest sequence length that holds them all."""
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        counts = tuple(len(encoding) for encoding in encodings)
        for index, count in enumerate(counts):
            if count > self.max_tokens:
                raise TextTooLongError(index, count, self.max_tokens)
        longest = max(counts, default=0)
        length = next(size for size in self.sequence_lengths if size >= longest)
        return EncodedTexts({name: self._rows(name, encodings, length) for name in self._dtypes}, counts)

    def _rows(self, name: str, encodings: Sequence[Encoding], length: int) -> NDArray[np.integer[Any]]:
        fill = self._spec.pad_id if name == "input_ids" else 0
        rows = np.full((len(encodings), length), fill, dtype=self._dtypes[name])
        for row, encoding in zip(rows, encodings, strict=True):
            values = _values(name, encoding)
            if self._spec.pad_side == "right":
                row[: len(values)] = values
            else:
                row[length - len(values) :] = values
        return rows


def load_tokenizer(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    # The library's Rust side raises plain Exception for a file it cannot read or parse.
    except Exception as error:
        raise FatalError(
            Reason.MODEL_LOAD_FAILED,
            f"{path} is not a tokenizer this runtime can load: {error}.",
            hint="Give the tokenizer.json of a Hugging Face fast tokenizer (save_pretrained writes one).",
        ) from error


def sequence_lengths(manifest: Manifest) -> tuple[int, ...]:
    """The lengths the buckets offer. Text inputs are integers [batch, sequence] with known names, alike in length."""
    for tensor in manifest.inputs:
        if tensor.name not in TEXT_INPUTS or tensor.datatype not in _DTYPES or len(tensor.shape) != 2:
            raise FatalError(
                Reason.MODEL_LOAD_FAILED,
                f"Input {tensor.name} ({tensor.datatype} {list(tensor.shape)}) of model {manifest.name} is none that a "
                f"tokenizer fills.",
                hint=f"A text model takes {', '.join(TEXT_INPUTS)} as INT32 or INT64 [batch, sequence]; "
                "pack it as task Tensor otherwise.",
            )
    lengths = [{shape[1] for shape in bucket.shapes.values()} for bucket in manifest.buckets]
    if any(len(sizes) != 1 for sizes in lengths):
        raise FatalError(
            Reason.MODEL_LOAD_FAILED,
            f"The inputs of a bucket of model {manifest.name} disagree on the sequence length.",
            hint="Trace every text input with one sequence length and pack the model again.",
        )
    return tuple(sorted(set().union(*lengths)))


def _values(name: str, encoding: Encoding) -> list[int]:
    columns: dict[str, list[int]] = {
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }
    return columns[name]
