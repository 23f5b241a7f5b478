"""From tried programs to a bundle on disk: the manifest's parts, what was assumed for them, the files, model.json last.

Decisions only, but for `write_bundle`. Every assumption goes into `notes`, which `pack` prints.
"""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import ValidationError

from neuron_runtime.artifacts import MANIFEST_NAME, digest_of
from neuron_runtime.artifacts import describe_file as described
from neuron_runtime.bundle import Manifest, TensorSpec
from neuron_runtime.packing.hugging_face import ModelFolder
from neuron_runtime.packing.programs import Output, Program, Shapes
from neuron_runtime.termination import FatalError, Reason
from neuron_runtime.tokens import sequence_lengths

TOKENIZER_FILE = "tokenizer.json"
MOST_LABELS_SAID = 8


@dataclass(frozen=True)
class Choices:
    """What the user said on the command line about the model's task; None where nothing was said."""

    task: str
    truncate: bool = False
    labels: tuple[str, ...] | None = None
    activation: Literal["softmax", "sigmoid"] | None = None
    pooling: Literal["none", "mean", "cls"] | None = None
    normalize: bool | None = None
    notes: list[str] = field(default_factory=list)

    def assume(self, what: str, because: str) -> None:
        self.notes.append(f"assumed {what} ({because})")


def input_specs(given: Sequence[TensorSpec], programs: Sequence[Program]) -> list[dict[str, Any]]:
    """As clients see them: -1 for the batch and wherever the buckets differ."""
    shapes = [run[0] for program in programs for run in program.runs]
    return [
        {"name": tensor.name, "datatype": tensor.datatype, "shape": _common([shape[tensor.name] for shape in shapes])}
        for tensor in given
    ]


def output_specs(given: Sequence[TensorSpec], programs: Sequence[Program], task: str) -> list[dict[str, Any]]:
    found = [run[1] for program in programs for run in program.runs]
    counts = {len(outputs) for outputs in found}
    if len(counts) != 1 or (given and len(given) not in counts):
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"The programs return {' or '.join(map(str, sorted(counts)))} tensors, --output names {len(given)}.",
            hint="Name every output once, in the order returned, or leave --output out.",
        )
    specs = []
    for index, alike in enumerate(zip(*found, strict=True)):
        first: Output = alike[0]
        spec: dict[str, Any] = {"name": first.name or _output_name(task, index, len(found[0]))}
        spec |= {"datatype": first.datatype, "shape": _common([output.shape for output in alike])}
        specs.append(_as_named(spec, given[index]) if given else spec)
    return specs


def _as_named(found: dict[str, Any], given: TensorSpec) -> dict[str, Any]:
    shape = [-1, *given.shape[1:]]
    agrees = len(shape) == len(found["shape"]) and all(a in (-1, b) for a, b in zip(shape, found["shape"], strict=True))
    if not agrees or given.datatype != found["datatype"]:
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"--output {given.name} says {given.datatype} {shape}, but the program returned {found['datatype']} "
            f"{found['shape']}.",
            hint="Correct --output, or leave it out.",
        )
    return {"name": given.name, "datatype": given.datatype, "shape": shape}


def _common(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    sizes = zip(*(shape[1:] for shape in shapes), strict=True)
    return [-1, *(alike[0] if len(set(alike)) == 1 else -1 for alike in sizes)]


def _output_name(task: str, index: int, count: int) -> str:
    names = {"TextClassification": "logits", "ImageClassification": "logits", "TextEmbedding": "embeddings"}
    name = names.get(task, "output")
    return name if count == 1 else f"{name}_{index}"


def buckets(programs: Sequence[Program]) -> tuple[list[dict[str, Any]], dict[str, Path]]:
    """The buckets, and the program file for each path in the bundle."""
    entries: list[dict[str, Any]] = []
    sources: dict[str, Path] = {}
    for program in programs:
        path = "any-batch.pt" if program.flexible else f"{_size_name(program.runs[0][0])}.pt"
        if path in sources:
            raise FatalError(
                Reason.INVALID_CONFIGURATION,
                f"{program.path} and {sources[path]} take the same shapes.",
                hint="Give one program for each batch and sequence size.",
            )
        sources[path] = program.path
        entries += [{"file": path, "shapes": shapes} for shapes, _ in program.runs]
    return sorted(entries, key=lambda entry: tuple(entry["shapes"].values())), sources


def _size_name(shapes: Shapes) -> str:
    batch, *others = next(iter(shapes.values()))
    return "x".join([f"batch-{batch}", *map(str, others)])


def text_part(choices: Choices, folder: ModelFolder, longest: int) -> dict[str, Any]:
    pad_id, pad_side = folder.pad_id, folder.pad_side
    if pad_id is None:
        pad_id = 0
        choices.assume("pad id 0", "no pad token in tokenizer_config.json, no pad_token_id in config.json")
    else:
        choices.assume(f"pad id {pad_id}", "the tokenizer's folder says so")
    if pad_side is None:
        pad_side = "right"
        choices.assume("padding on the right", "tokenizer_config.json has no padding_side")
    if folder.max_tokens is not None and longest > folder.max_tokens:
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"The programs take sequences of {longest} tokens, but the model folder's limit is {folder.max_tokens}.",
            hint="Trace with a sequence length the model was made for.",
        )
    choices.assume(f"at most {longest} tokens a text", "the programs' longest sequence")
    return {"tokenizer": TOKENIZER_FILE, "padId": pad_id, "padSide": pad_side, "truncate": choices.truncate}


class Classes(Protocol):
    """What a model folder says of the classes."""

    @property
    def labels(self) -> tuple[str, ...] | None: ...
    @property
    def is_multi_label(self) -> bool: ...


def classification_part(choices: Choices, folder: Classes, classes: int) -> dict[str, Any]:
    labels, activation = choices.labels, choices.activation
    if labels is None and folder.labels is not None:
        labels = folder.labels
        choices.assume(f"labels {_listed(labels)}", "id2label in config.json")
    if labels is None:
        labels = tuple(f"class-{index}" for index in range(classes))
        choices.assume(f"labels {_listed(labels)}", "neither --labels nor id2label in config.json names them")
    if activation is None:
        activation = "sigmoid" if folder.is_multi_label or classes == 1 else "softmax"
        choices.assume(activation, "problem_type in config.json" if folder.is_multi_label else f"{classes} classes")
    return {"labels": labels, "activation": activation}


def _listed(labels: Sequence[str]) -> str:
    few = ", ".join(labels[:MOST_LABELS_SAID])
    return few if len(labels) <= MOST_LABELS_SAID else f"{few} and {len(labels) - MOST_LABELS_SAID} more"


def embedding_part(choices: Choices, folder: ModelFolder, output: Output) -> dict[str, Any]:
    pooling, normalize = choices.pooling, choices.normalize
    if pooling is None:
        pooled = len(output.shape) == 2
        pooling = "none" if pooled else ("cls" if folder.pooling == "cls" else "mean")
        because = "the program returns one vector a text" if pooled else "the program returns a vector a token"
        choices.assume(f"pooling {pooling}", because)
    if normalize is None:
        normalize = not output.has_unit_rows and folder.normalize is not False
        because = "the vectors have length 1 already" if output.has_unit_rows else "modules.json, or usual where absent"
        choices.assume(f"normalize {str(normalize).lower()}", because)
    return {"dimensions": output.shape[-1], "pooling": pooling, "normalize": normalize}


def write_bundle(out: Path, content: dict[str, Any], sources: dict[str, Path], *, force: bool) -> tuple[Manifest, str]:
    """Writes beside `out` first, so that no half bundle is ever seen there. Returns the manifest and its digest."""
    _refuse_to_overwrite(out, force=force)
    staging = out.with_name(f".{out.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        staging.mkdir(parents=True)
        for relative, source in sources.items():
            shutil.copyfile(source, staging / relative)
        manifest = _validated(content | {"files": [described(staging, relative).model_dump() for relative in sources]})
        encoded = manifest.model_dump_json(by_alias=True, indent=2, exclude_none=True).encode() + b"\n"
        (staging / MANIFEST_NAME).write_bytes(encoded)
        shutil.rmtree(out, ignore_errors=True)
        staging.rename(out)
    except OSError as error:
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"The bundle cannot be written to {out}: {error.strerror or error}.",
            hint="Give a directory with room that you may write to.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest, digest_of(encoded)


def _refuse_to_overwrite(out: Path, *, force: bool) -> None:
    if not out.exists():
        return
    with contextlib.suppress(NotADirectoryError):
        if not any(out.iterdir()):
            return
    is_bundle = (out / MANIFEST_NAME).is_file()
    if not (force and is_bundle):
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"{out} exists already" + (" and holds a bundle." if is_bundle else " and holds something else."),
            hint="Add --force to replace it." if is_bundle else "Give another directory.",
        )


def _validated(content: dict[str, Any]) -> Manifest:
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field_name = ".".join(map(str, first["loc"])) or "bundle"
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"These arguments make no valid bundle: {field_name}: {first['msg'].removeprefix('Value error, ')}.",
            hint="See neuron-runtime pack --help.",
        ) from None
    if manifest.text is not None:
        sequence_lengths(manifest)  # refuses inputs that no tokenizer fills
    return manifest
