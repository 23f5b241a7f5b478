"""What a request costs before it is a tensor: tokenization and image decoding, in items per second of one vCPU."""

import os
import subprocess
import sys
from functools import partial

from bench.errors import BenchError
from bench.findings import Finding, voided
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import own_environment
from cluster.settings import from_environment

FIGURE = "preparation"
TEXTS, IMAGES = "texts of 19 words, in eights", "JPEG images of 500 x 375, to 224 x 224"


def measure(scale: Scale) -> list[Finding]:
    sides = {IMAGES: partial(per_second, "images", str(scale.seconds))}
    bundle = from_environment(os.environ).cache / "bundles" / "minilm"
    if bundle.exists():
        sides[TEXTS] = partial(per_second, "texts", str(bundle), str(scale.seconds))
    rates = interleaved(FIGURE, scale.runs, sides)
    note = "" if bundle.exists() else "texts were left out: make bundle builds the tokenizer's bundle"
    rows = [Finding(FIGURE, name, "items/s per vCPU", tuple(found), note=note) for name, found in rates.items()]
    return voided(rows, rates.void)


def per_second(*arguments: str) -> float:
    command = [sys.executable, "-m", "bench.preparation_process", *arguments]
    ran = subprocess.run(command, env=own_environment(), capture_output=True, text=True, check=False)
    if ran.returncode:
        raise BenchError(f"{arguments[0]} could not be prepared: {ran.stderr.strip()[-500:]}")
    return float(ran.stdout)
