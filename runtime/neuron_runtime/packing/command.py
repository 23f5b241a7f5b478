"""The command `neuron-runtime pack`: arguments in, bundle out, with every assumption said. Called by __main__."""

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from neuron_runtime.bundle import Compiler, Manifest, TensorSpec
from neuron_runtime.packing import flags, writing
from neuron_runtime.packing.hugging_face import ModelFolder, read_model_folder
from neuron_runtime.packing.image_processor import image_part, read_image_folder
from neuron_runtime.packing.programs import Program, try_program
from neuron_runtime.termination import FatalError, Reason

TEXT_TASKS = ("TextClassification", "TextEmbedding")


def run(argv: list[str]) -> int:
    options = flags.parse(argv)
    try:
        return _pack(options)
    except FatalError as error:
        sys.stderr.write(f"neuron-runtime pack: {error}\n")
        return 1


def _pack(options: argparse.Namespace) -> int:
    folder = _folder(options)
    choices = writing.Choices(
        options.task, options.truncate, options.labels, options.activation, options.pooling, options.normalize
    )
    programs = []
    for path in options.programs:
        programs.append(try_program(path, options.inputs, options.batch_sizes))
        _say(f"tried {path}: {_summary(programs[-1])}")
    content, sources = _content(options, choices, folder, programs)
    manifest, digest = writing.write_bundle(options.out, content, sources, force=options.force)
    for note in choices.notes:
        _say(note)
    _say(_result(manifest, digest, options.out))
    return 0


def _folder(options: argparse.Namespace) -> ModelFolder | None:
    if options.tokenizer is None and options.task in TEXT_TASKS:
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"Task {options.task} needs a tokenizer.",
            hint="Add --tokenizer DIR, the Hugging Face folder with tokenizer.json, or pack it as task Tensor.",
        )
    return read_model_folder(options.tokenizer) if options.tokenizer is not None else None


def _content(
    options: argparse.Namespace, choices: writing.Choices, folder: ModelFolder | None, programs: Sequence[Program]
) -> tuple[dict[str, Any], dict[str, Path]]:
    """model.json without its files, and what to copy."""
    needs_neuron = any(program.needs_neuron for program in programs)
    entries, sources = writing.buckets(programs)
    inputs = writing.input_specs(options.inputs, programs)
    outputs = writing.output_specs(options.outputs, programs, options.task)
    content: dict[str, Any] = {
        "name": options.name or options.out.resolve().name,
        "version": options.version,
        "task": options.task,
        "inputs": inputs,
        "outputs": outputs,
        "buckets": entries,
        "target": options.target or _assumed_target(choices, needs_neuron=needs_neuron),
        "compiler": options.compiler or _installed_compiler(needs_neuron=needs_neuron),
    }
    first = programs[0].runs[0][1][0]
    if options.task == "ImageClassification":
        images = read_image_folder(options.image_processor)
        content["image"] = image_part(choices, images, TensorSpec.model_validate(inputs[0]))
        content["classification"] = writing.classification_part(choices, images, first.shape[-1])
    if folder is not None and options.task in TEXT_TASKS:
        sources[writing.TOKENIZER_FILE] = folder.tokenizer
        longest = max(
            (shape[1] for entry in entries for shape in entry["shapes"].values() if len(shape) > 1), default=0
        )
        content["text"] = writing.text_part(choices, folder, longest)
        if options.task == "TextClassification":
            content["classification"] = writing.classification_part(choices, folder, first.shape[-1])
        else:
            content["embedding"] = writing.embedding_part(choices, folder, first)
    return content, sources


def _assumed_target(choices: writing.Choices, *, needs_neuron: bool) -> str:
    target = "inf2" if needs_neuron else "cpu"
    choices.assume(f"target {target}", "a compiled Neuron program" if needs_neuron else "plain TorchScript")
    return target


def _installed_compiler(*, needs_neuron: bool) -> Compiler | None:
    """neuronx-cc, or the torch_neuronx that traced without it (the emulator); torch for plain TorchScript."""
    for name in ("neuronx-cc", "torch-neuronx") if needs_neuron else ("torch",):
        try:
            return Compiler(name=name, version=importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            continue
    version = getattr(sys.modules.get("torch_neuronx"), "__version__", None)
    return Compiler(name="torch-neuronx", version=str(version)) if version else None


def _summary(program: Program) -> str:
    sizes = "; ".join(
        ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items()) for shapes, _ in program.runs
    )
    kind = "a Neuron program" if program.needs_neuron else "plain TorchScript"
    free = " (it takes any batch size; --batch-sizes chooses which are offered)" if program.flexible else ""
    return f"{kind} for {sizes}{free}"


def _result(manifest: Manifest, digest: str, out: Path) -> str:
    megabytes = manifest.total_bytes / 1e6
    return f"wrote {out}: {manifest.name} {manifest.version}, {manifest.task}, {megabytes:.1f} MB\n{digest}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
