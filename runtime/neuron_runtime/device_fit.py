"""Whether a bundle's programs can run where they are to be served: made for this hardware, within its memory. Pure.

`serving` asks before it starts a worker, because the answer of the device itself comes minutes later and says less.
"""

from collections.abc import Sequence

from neuron_runtime.bundle import Bucket, Manifest
from neuron_runtime.cores import CORE_MEMORY_BYTES
from neuron_runtime.termination import FatalError, Reason

CPU_TARGET = "cpu"
NEURON_TARGETS = ("inf2", "trn1", "trn1n")
"""The instance families with NeuronCore-v2, which are what this release serves on (`neuronx-cc compile --target`)."""
_GIB = 2**30


def check_fit(manifest: Manifest, engine: str, buckets: Sequence[Bucket]) -> None:
    """FatalError when `engine` cannot run the programs, or `buckets`, those to be loaded, exceed a core's memory."""
    on_neuron = engine == "torch_neuronx"
    runs = NEURON_TARGETS if on_neuron else (CPU_TARGET,)
    if manifest.target not in runs:
        raise FatalError(
            Reason.COMPILER_VERSION_MISMATCH,
            f"the programs of {manifest.name} were compiled {compiled(manifest)}, but the {engine} engine runs those "
            f"for {', '.join(runs)}",
            hint=_hint(manifest.target, on_neuron=on_neuron),
            details=_details(manifest),
        )
    if on_neuron:
        _check_memory(manifest.name, buckets)


def compiled(manifest: Manifest) -> str:
    """For what and by what, as error messages say it: `for inf2 by neuronx-cc 2.26.6360.0`."""
    compiler = manifest.compiler
    by = f"{compiler.name} {compiler.version}" if compiler else "a compiler that model.json does not name"
    return f"for {manifest.target} by {by}"


def _check_memory(model: str, buckets: Sequence[Bucket]) -> None:
    needed = sum(bucket.device_bytes or 0 for bucket in buckets)
    if needed <= CORE_MEMORY_BYTES:
        return
    listed = ", ".join(
        f"{bucket.file} {bucket.device_bytes / _GIB:.2f} GiB" for bucket in buckets if bucket.device_bytes
    )
    raise FatalError(
        Reason.OUT_OF_DEVICE_MEMORY,
        f"the programs of {model} take {needed / _GIB:.2f} GiB of device memory together, but a NeuronCore has "
        f"{CORE_MEMORY_BYTES / _GIB:.0f} GiB: {listed}",
        hint="load fewer buckets (set the maximum batch size), or compile for smaller batches or with bf16 casting",
        details={"neededBytes": str(needed), "coreBytes": str(CORE_MEMORY_BYTES)},
    )


def _details(manifest: Manifest) -> dict[str, str]:
    compiler = manifest.compiler
    found = {"target": manifest.target}
    return found | ({"compiler": compiler.name, "compilerVersion": compiler.version} if compiler else {})


def _hint(target: str, *, on_neuron: bool) -> str:
    if on_neuron and target == CPU_TARGET:
        return "compile the model with torch_neuronx.trace, or serve it with the cpu engine"
    if not on_neuron and target in NEURON_TARGETS:
        return "serve it with the torch_neuronx engine, or pack a program that was traced for the CPU"
    return "compile the model again for the instances that serve it, and pack it with that target"
