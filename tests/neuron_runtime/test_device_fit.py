"""Which programs may be loaded where, and how much of a core they may take."""

import pytest

import bundle_files
from neuron_runtime.bundle import Bucket, Manifest
from neuron_runtime.device_fit import check_fit, compiled
from neuron_runtime.termination import FatalError, Reason

GIB = 2**30


def manifest(**parts: object) -> Manifest:
    return Manifest.model_validate(bundle_files.manifest(**parts))


def bucket(file: str, batch: int, device_bytes: int | None) -> Bucket:
    return Bucket(file=file, shapes={"values": (batch, 3)}, device_bytes=device_bytes)


@pytest.mark.parametrize(
    ("target", "engine", "fits"),
    [
        ("inf2", "torch_neuronx", True),
        ("trn1", "torch_neuronx", True),
        ("trn2", "torch_neuronx", False),
        ("inf1", "torch_neuronx", False),
        ("cpu", "torch_neuronx", False),
        ("cpu", "cpu", True),
        ("inf2", "cpu", False),
    ],
)
def test_targets(target: str, engine: str, fits: bool) -> None:
    found = manifest(target=target)
    if fits:
        check_fit(found, engine, found.buckets)
        return
    with pytest.raises(FatalError) as caught:
        check_fit(found, engine, found.buckets)
    assert caught.value.reason is Reason.COMPILER_VERSION_MISMATCH
    assert f"compiled for {target} by" in caught.value.message
    assert caught.value.hint


def test_what_a_program_was_compiled_by_is_said_or_said_to_be_unknown() -> None:
    plain = manifest()
    known = manifest(compiler={"name": "neuronx-cc", "version": "2.26"})

    assert compiled(known) == "for inf2 by neuronx-cc 2.26"
    assert compiled(plain) == "for inf2 by a compiler that model.json does not name"


@pytest.mark.parametrize(
    ("sizes", "fits"),
    [
        pytest.param([16 * GIB], True, id="all of a core"),
        pytest.param([16 * GIB, 1], False, id="a byte more"),
        pytest.param([None, None], True, id="nothing is known"),
        pytest.param([None, 17 * GIB], False, id="what is known is too much"),
    ],
)
def test_device_memory_is_that_of_the_buckets_to_be_loaded(sizes: list[int | None], fits: bool) -> None:
    found = manifest(target="inf2")
    buckets = [bucket(f"b{index}.pt", index + 1, size) for index, size in enumerate(sizes)]
    if fits:
        check_fit(found, "torch_neuronx", buckets)
        return
    with pytest.raises(FatalError) as caught:
        check_fit(found, "torch_neuronx", buckets)
    assert caught.value.reason is Reason.OUT_OF_DEVICE_MEMORY


def test_the_cpu_engine_has_no_device_memory_to_run_out_of() -> None:
    found = manifest(target="cpu")
    check_fit(found, "cpu", [bucket("b1.pt", 1, 99 * GIB)])
