"""Verification of a bundle on disk: whole, or refused with the file and the next step."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bundle_files import write_bundle
from neuron_runtime.artifacts import load_bundle
from neuron_runtime.termination import FatalError, Reason


def test_a_whole_bundle_loads_with_its_digest(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path)
    bundle = load_bundle(tmp_path, digest=digest)
    assert bundle.digest == digest
    assert bundle.path("parts/batch-4.pt").stat().st_size == 3_000_000


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason", "said"),
    [
        pytest.param(lambda d: flip(d / "batch-1.pt"), Reason.ARTIFACT_CORRUPT, "batch-1.pt has the sha256", id="bit"),
        pytest.param(
            lambda d: (d / "batch-1.pt").write_bytes(b"x"), Reason.ARTIFACT_CORRUPT, "1 bytes, but", id="cut short"
        ),
        pytest.param(lambda d: (d / "batch-1.pt").unlink(), Reason.ARTIFACT_CORRUPT, "is missing", id="file gone"),
        pytest.param(
            lambda d: (d / "model.json").unlink(), Reason.ARTIFACT_NOT_FOUND, "no model.json", id="manifest gone"
        ),
        pytest.param(
            lambda d: (d / "model.json").write_text("<html>"), Reason.ARTIFACT_CORRUPT, "the document", id="not JSON"
        ),
        pytest.param(
            lambda d: (d / "model.json").write_text('{"name": "x"}'), Reason.ARTIFACT_CORRUPT, "task", id="field gone"
        ),
        pytest.param(
            lambda d: (d / "model.json").write_bytes(b" " * 5_000_000),
            Reason.ARTIFACT_CORRUPT,
            "larger than",
            id="manifest huge",
        ),
    ],
)
def test_a_damaged_bundle_is_refused_naming_the_file(
    tmp_path: Path, damage: Callable[[Path], object], reason: Reason, said: str
) -> None:
    write_bundle(tmp_path)
    damage(tmp_path)
    with pytest.raises(FatalError, match=said) as caught:
        load_bundle(tmp_path)
    assert caught.value.reason is reason
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


def test_another_digest_is_refused_naming_both(tmp_path: Path) -> None:
    digest = write_bundle(tmp_path)
    with pytest.raises(FatalError) as caught:
        load_bundle(tmp_path, digest="sha256:" + "0" * 64)
    assert caught.value.reason is Reason.ARTIFACT_CORRUPT
    assert caught.value.details == {"found": digest, "wanted": "sha256:" + "0" * 64}


def test_a_missing_directory_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FatalError) as caught:
        load_bundle(tmp_path / "nothing")
    assert caught.value.reason is Reason.ARTIFACT_NOT_FOUND


def test_files_are_left_unread_without_verify(tmp_path: Path) -> None:
    write_bundle(tmp_path)
    flip(tmp_path / "batch-1.pt")
    assert load_bundle(tmp_path, verify=False).manifest.name == "doubler"
