"""Text to the model's integer inputs, with the bundle's own Hugging Face tokenizer. The front process calls it.

A text longer than every bucket is refused with TextTooLongError: it is cut only where the bundle says `truncate`, never
silently. What tokenizer.json says of padding and truncation is ignored, for it describes training, not our buckets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from neuron_runtime.artifacts import Bundle
from neuron_runtime.attempts import attempt
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


class UnknownTokenError(ValueError):
    """A client's token id that this tokenizer's vocabulary does not have."""

    def __init__(self, index: int, token: int, vocabulary: int) -> None:
        super().__init__(f"token id {token} is not in this model's vocabulary, which has the ids 0 to {vocabulary - 1}")
        self.index = index


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
        self.vocabulary = 1 + max(tokenizer.get_vocab().values(), default=0)
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
        columns = {name: [_values(name, encoding) for encoding in encodings] for name in self._dtypes}
        return self._padded(columns, tuple(len(encoding) for encoding in encodings))

    def encode_token_ids(self, rows: Sequence[Sequence[int]]) -> EncodedTexts:
        """A client's own token ids, taken as they are: no special token is added, and none that is there is taken off.

        Too many are refused, or cut at the end where the bundle says so, as for texts.
        """
        for index, row in enumerate(rows):
            for token in row:
                if not 0 <= token < self.vocabulary:
                    raise UnknownTokenError(index, token, self.vocabulary)
        if self._spec.truncate:
            rows = [row[: self.max_tokens] for row in rows]
        constant = {"attention_mask": 1, "token_type_ids": 0}
        columns = {
            name: rows if name == "input_ids" else [[constant[name]] * len(row) for row in rows]
            for name in self._dtypes
        }
        return self._padded(columns, tuple(len(row) for row in rows))

    def _padded(self, columns: Mapping[str, Sequence[Sequence[int]]], counts: tuple[int, ...]) -> EncodedTexts:
        for index, count in enumerate(counts):
            if count > self.max_tokens:
                raise TextTooLongError(index, count, self.max_tokens)
        longest = max(counts, default=0)
        length = next(size for size in self.sequence_lengths if size >= longest)
        return EncodedTexts({name: self._rows(name, rows, length) for name, rows in columns.items()}, counts)

    def _rows(self, name: str, columns: Sequence[Sequence[int]], length: int) -> NDArray[np.integer[Any]]:
        fill = self._spec.pad_id if name == "input_ids" else 0
        on_the_right = self._spec.pad_side == "right"
        rows = []
        for values in columns:
            padding = [fill] * (length - len(values))
            rows.append([*values, *padding] if on_the_right else [*padding, *values])
        # One conversion of everything: for a short text numpy's calls are what takes time.
        return np.array(rows, dtype=self._dtypes[name]).reshape(len(rows), length)


def load_tokenizer(path: Path) -> Tokenizer:
    # The library's Rust side raises plain Exception for a file it cannot read or parse.
    tokenizer = attempt(lambda: Tokenizer.from_file(str(path)))
    if isinstance(tokenizer, Exception):
        raise FatalError(
            Reason.MODEL_LOAD_FAILED,
            f"{path} is not a tokenizer this runtime can load: {tokenizer}.",
            hint="Give the tokenizer.json of a Hugging Face fast tokenizer (save_pretrained writes one).",
        ) from tokenizer
    return tokenizer


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
    # Each of these is a fresh list: only the one asked for is made.
    column: list[int] = getattr(encoding, {"input_ids": "ids", "token_type_ids": "type_ids"}.get(name, name))
    return column
