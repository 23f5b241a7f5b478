"""The tiny TorchScript model, for the peers as a file and for the runtime as a bundle."""

import subprocess
import sys
from pathlib import Path

from bench.device import MODEL
from bench.errors import BenchError
from bench.payload import VALUES
from bench.servers import own_environment

BATCH_SIZES = "1,8,32"


def build(folder: Path) -> tuple[Path, Path]:
    """The TorchScript file for the peers, and the bundle of it for the runtime, both in `folder`."""
    program, bundle = folder / "tiny.pt", folder / "bundle"
    _run("bench.tiny_program", str(program))
    tensor = f"input:FP32:-1,{len(VALUES)}"
    named = ["--task", "Tensor", "--name", MODEL, "--batch-sizes", BATCH_SIZES]
    _run("neuron_runtime", "pack", str(program), "--input", tensor, *named, "-o", str(bundle))
    return program, bundle


def flags(bundle: Path) -> tuple[str, ...]:
    """One worker: the machine's other CPU is the front's and the client's."""
    return ("--engine", "cpu", "--bundle", str(bundle), "--cores", "1")


def _run(*arguments: str) -> None:
    command = [sys.executable, "-m", *arguments]
    ran = subprocess.run(command, env=own_environment(), capture_output=True, text=True, check=False)
    if ran.returncode:
        raise BenchError(f"the tiny model cannot be built: {ran.stderr.strip()[-500:]}")
