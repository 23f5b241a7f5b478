"""`neuron-runtime inspect PATH`: what a bundle holds and whether it is whole, as text or JSON. Called by __main__.

Reads and verifies like `serve` does, but needs neither torch nor a NeuronCore.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import orjson

from neuron_runtime.artifacts import MANIFEST_NAME, Bundle, load_bundle
from neuron_runtime.bundle import ImageSpec, Manifest, TensorSpec
from neuron_runtime.termination import FatalError


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="neuron-runtime inspect", description="Shows what a model bundle holds and verifies every file of it."
    )
    parser.add_argument("path", type=Path, help="the bundle's directory, or its model.json")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--digest", metavar="sha256:HEX", help="fail unless the bundle has this digest")
    parser.add_argument("--no-verify", action="store_true", help="do not read the files, only model.json")
    options = parser.parse_args(argv)
    directory = options.path.parent if options.path.name == MANIFEST_NAME else options.path
    try:
        bundle = load_bundle(directory, digest=options.digest, verify=not options.no_verify)
    except FatalError as error:
        sys.stderr.write(f"neuron-runtime inspect: {error}\n")
        return 1
    verified = not options.no_verify
    sys.stdout.write(as_json(bundle, verified=verified) if options.json else as_text(bundle, verified=verified))
    return 0


def as_json(bundle: Bundle, *, verified: bool) -> str:
    content: dict[str, Any] = {
        "digest": bundle.digest,
        "verified": verified,
        "bytes": bundle.manifest.total_bytes,
        "manifest": bundle.manifest.model_dump(mode="json", by_alias=True, exclude_none=True),
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n"


def as_text(bundle: Bundle, *, verified: bool) -> str:
    manifest = bundle.manifest
    compiler = f", {manifest.compiler.name} {manifest.compiler.version}" if manifest.compiler else ""
    state = f"{len(manifest.files)} files verified" if verified else f"{len(manifest.files)} files, not verified"
    rows = [
        ("model", f"{manifest.name} {manifest.version}"),
        ("task", manifest.task),
        ("target", f"{manifest.target}{compiler}"),
        *(("input", _tensor(tensor)) for tensor in manifest.inputs),
        *(("output", _tensor(tensor)) for tensor in manifest.outputs),
        *_bucket_rows(manifest),
        *_task_rows(manifest),
        ("files", f"{manifest.total_bytes / 1e6:.1f} MB, {state}"),
        ("digest", bundle.digest),
    ]
    # A word that repeats is said once.
    shown = [(word if not index or rows[index - 1][0] != word else "", text) for index, (word, text) in enumerate(rows)]
    return "".join(f"{word:<9}{text}\n" for word, text in shown)


def _tensor(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.datatype} {list(tensor.shape)}"


def _image(image: ImageSpec) -> str:
    """The steps in their order, as far as there is something to do."""
    size = image.resize if isinstance(image.resize, int) else [*(image.resize or ())]
    steps = [
        image.color,
        f"resized to {size} ({image.resample})" if size else "",
        f"cropped to {[*image.crop]}" if image.crop else "",
        "" if image.keeps_values else f"times {image.scale:.6g}, mean {[*image.mean]}, std {[*image.std]}",
        image.layout,
    ]
    return ", ".join(step for step in steps if step)


def _bucket_rows(manifest: Manifest) -> list[tuple[str, str]]:
    sizes = {file.path: file.bytes for file in manifest.files}
    return [
        (
            "bucket",
            f"batch {bucket.batch_size}: "
            + ", ".join(f"{name} {list(shape)}" for name, shape in bucket.shapes.items())
            + f", {sizes[bucket.file] / 1e6:.1f} MB ({bucket.file})",
        )
        for bucket in manifest.buckets
    ]


def _task_rows(manifest: Manifest) -> list[tuple[str, str]]:
    rows = []
    if manifest.text:
        too_long = "cut" if manifest.text.truncate else "refused"
        padding = f"padded {manifest.text.pad_side} with {manifest.text.pad_id}"
        rows.append(("text", f"{manifest.text.tokenizer}, {padding}, texts that are too long are {too_long}"))
    if manifest.classification:
        rows.append(("labels", f"{', '.join(manifest.classification.labels)} ({manifest.classification.activation})"))
    if manifest.image:
        rows.append(("image", _image(manifest.image)))
    if manifest.embedding:
        normalized = "normalized" if manifest.embedding.normalize else "as the program returns it"
        rows.append(
            ("vector", f"{manifest.embedding.dimensions} values, pooling {manifest.embedding.pooling}, {normalized}")
        )
    return rows
