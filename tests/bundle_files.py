"""Whole bundles whose programs are only bytes, for tests that move and verify files and never load them."""

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuron_runtime.artifacts import digest_of

PROGRAMS: Mapping[str, int] = {"batch-1.pt": 70_000, "parts/batch-4.pt": 3_000_000}


def manifest(**parts: Any) -> dict[str, Any]:
    """A valid model.json of two buckets; `parts` replace its own."""
    content: dict[str, Any] = {
        "name": "doubler",
        "task": "Tensor",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
        "buckets": [
            {"file": "batch-1.pt", "shapes": {"x": [1, 3]}},
            {"file": "parts/batch-4.pt", "shapes": {"x": [4, 3]}},
        ],
        "target": "inf2",
        "files": [{"path": path, "sha256": "0" * 64, "bytes": size} for path, size in PROGRAMS.items()],
    }
    return content | parts


def write_bundle(folder: Path, seed: int = 0, **parts: Any) -> str:
    """The bundle's digest. The seed decides what is in the programs."""
    files = []
    for path, size in PROGRAMS.items():
        content = random.Random(f"{seed} {path}").randbytes(size)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
        files.append({"path": path, "sha256": hashlib.sha256(content).hexdigest(), "bytes": size})
    encoded = json.dumps(manifest(files=files, **parts)).encode()
    (folder / "model.json").write_bytes(encoded)
    return digest_of(encoded)
