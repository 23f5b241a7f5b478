"""Tiny bundles for the stories, traced and packed the way a user does it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from emulator.environment import host_environment

TRACE = """
import sys, torch, torch_neuronx
layer = torch.nn.Linear(4, 2).eval()
for batch_size in (1, 4):
    torch_neuronx.trace(layer, torch.zeros(batch_size, 4)).save(f"{sys.argv[1]}/b{batch_size}.pt")
"""


def build(folder: Path) -> dict[str, Path]:
    """Directories by the key they get in the artifact store."""
    tiny = _pack(folder)
    return {
        "tiny": tiny,
        "tiny-again": tiny,
        "corrupt": _corrupt(tiny),
        "unloadable": _unloadable(tiny),
        "vast": _vast(tiny),
        "for-trn2": _for_trn2(tiny),
    }


def _pack(folder: Path) -> Path:
    environment = {**os.environ, **host_environment(folder / "neuron", "inf2.xlarge")}
    subprocess.run([sys.executable, "-W", "ignore", "-c", TRACE, str(folder)], env=environment, check=True)
    packing = ["pack", str(folder / "b1.pt"), str(folder / "b4.pt"), "--input", "x:FP32:-1,4", "--task", "Tensor"]
    command = [sys.executable, "-W", "ignore", "-m", "neuron_runtime", *packing, "--name", "tiny"]
    subprocess.run([*command, "-o", str(folder / "tiny")], env=environment, check=True)
    return folder / "tiny"


def _corrupt(tiny: Path) -> Path:
    """One byte of a program differs from what model.json says."""
    copy = Path(shutil.copytree(tiny, tiny.with_name("corrupt")))
    program = copy / _manifest(copy)["buckets"][0]["file"]
    content = bytearray(program.read_bytes())
    content[-1] ^= 0xFF
    program.write_bytes(content)
    return copy


def _unloadable(tiny: Path) -> Path:
    """Every checksum is right, but the programs are not programs."""
    copy = Path(shutil.copytree(tiny, tiny.with_name("unloadable")))
    manifest = _manifest(copy)
    content = b"not a TorchScript archive"
    for bucket in manifest["buckets"]:
        (copy / bucket["file"]).write_bytes(content)
        entry = next(file for file in manifest["files"] if file["path"] == bucket["file"])
        entry.update(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    (copy / "model.json").write_text(json.dumps(manifest))
    return copy


def _vast(tiny: Path) -> Path:
    """A program that, as model.json says, no disk has room for."""
    copy = Path(shutil.copytree(tiny, tiny.with_name("vast")))
    manifest = _manifest(copy)
    manifest["files"][0]["bytes"] = 2**60
    (copy / "model.json").write_text(json.dumps(manifest))
    return copy


def _for_trn2(tiny: Path) -> Path:
    """Compiled, as model.json says, for another device."""
    copy = Path(shutil.copytree(tiny, tiny.with_name("for-trn2")))
    manifest = _manifest(copy) | {"target": "trn2", "compiler": {"name": "neuronx-cc", "version": "2.26.6360.0"}}
    (copy / "model.json").write_text(json.dumps(manifest))
    return copy


def _manifest(bundle: Path) -> Any:
    return json.loads((bundle / "model.json").read_text())
