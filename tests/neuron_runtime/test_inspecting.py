"""What `inspect` shows, and that it fails where `serve` would."""

import json
from pathlib import Path

import pytest

from bundle_files import write_bundle
from neuron_runtime import inspecting


def test_a_bundle_is_shown_to_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = write_bundle(tmp_path, compiler={"name": "neuronx-cc", "version": "2.26"})
    assert inspecting.run([str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "model    doubler 1",
        "task     Tensor",
        "target   inf2, neuronx-cc 2.26",
        "input    x FP32 [-1, 3]",
        "output   y FP32 [-1, 3]",
        "bucket   batch 1: x [1, 3], 0.1 MB (batch-1.pt)",
        "         batch 4: x [4, 3], 3.0 MB (parts/batch-4.pt)",
        "files    3.1 MB, 2 files verified",
        f"digest   {digest}",
    ]


def test_what_happens_to_an_image_is_shown_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(
        tmp_path,
        task="ImageClassification",
        inputs=[{"name": "x", "datatype": "FP32", "shape": [-1, 3, 4, 4]}],
        buckets=[{"file": "batch-1.pt", "shapes": {"x": [1, 3, 4, 4]}}],
        outputs=[{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        image={"resize": 5, "crop": [4, 4], "mean": [0.5] * 3, "std": [0.25] * 3},
        classification={"labels": ["cat", "dog"]},
    )
    assert inspecting.run([str(tmp_path)]) == 0
    assert (
        "image    RGB, resized to 5 (bilinear), cropped to [4, 4], times 0.00392157, mean [0.5, 0.5, 0.5], "
        "std [0.25, 0.25, 0.25], NCHW\n" in capsys.readouterr().out
    )


def test_a_bundle_is_shown_to_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = write_bundle(tmp_path)
    assert inspecting.run([str(tmp_path / "model.json"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["digest"], shown["verified"], shown["bytes"]) == (digest, True, 3_070_000)
    assert shown["manifest"]["buckets"][1]["file"] == "parts/batch-4.pt"


def test_a_damaged_bundle_fails_unless_only_the_manifest_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_bundle(tmp_path)
    (tmp_path / "batch-1.pt").write_bytes(b"")
    assert inspecting.run([str(tmp_path)]) == 1
    assert "ArtifactCorrupt" in capsys.readouterr().err
    assert inspecting.run([str(tmp_path), "--no-verify"]) == 0
    assert "not verified" in capsys.readouterr().out


def test_another_digest_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bundle(tmp_path)
    assert inspecting.run([str(tmp_path), "--digest", "sha256:" + "0" * 64]) == 1
    assert "was asked for" in capsys.readouterr().err
