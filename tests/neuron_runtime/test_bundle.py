"""What model.json may say: one table of what is refused, each for its own reason."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from bundle_files import manifest
from neuron_runtime.bundle import Manifest

TEXT = {"tokenizer": "batch-1.pt"}


def test_a_manifest_keeps_what_it_was_given() -> None:
    parsed = Manifest.model_validate(manifest())
    assert parsed.largest_batch_size == 4
    assert parsed.total_bytes == 3_070_000
    assert Manifest.model_validate_json(parsed.model_dump_json(by_alias=True)) == parsed


def buckets(*shapes: Any) -> list[dict[str, Any]]:
    return [{"file": "batch-1.pt", "shapes": shape} for shape in shapes]


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param({"tasks": "Tensor"}, "Extra inputs", id="unknown field"),
        pytest.param({"task": "Guess"}, "Input should be 'Tensor'", id="unknown task"),
        pytest.param({"schemaVersion": 2}, "Input should be 1", id="later schema"),
        pytest.param({"buckets": []}, "at least 1", id="no bucket"),
        pytest.param({"buckets": buckets({"x": [4, 2]})}, "the input says", id="bucket of another shape"),
        pytest.param({"buckets": buckets({"y": [4, 3]})}, "the inputs are", id="bucket of another input"),
        pytest.param({"buckets": buckets({"x": [-1, 3]})}, "must be positive", id="bucket without a batch"),
        pytest.param({"buckets": buckets({"x": [4, 3]}, {"x": [4, 3]})}, "the same shapes", id="bucket twice"),
        pytest.param({"buckets": [{"file": "c.pt", "shapes": {"x": [1, 3]}}]}, "not listed", id="program not listed"),
        pytest.param({"files": manifest()["files"] * 2}, "each file once", id="file twice"),
        pytest.param({"text": {"tokenizer": "t.json"}}, "not listed", id="tokenizer not listed"),
        pytest.param({"task": "TextEmbedding"}, "needs the part 'text'", id="text task without its part"),
        pytest.param({"task": "ImageClassification"}, "needs the part 'image'", id="image task without its part"),
        pytest.param(
            {"task": "TextClassification", "text": TEXT, "classification": {"labels": ["a", "b"]}},
            "2 labels for an output of 3",
            id="labels do not fit the output",
        ),
        pytest.param(
            {
                "task": "TextEmbedding",
                "text": TEXT,
                "embedding": {"dimensions": 4, "pooling": "none", "normalize": False},
            },
            "4 dimensions for an output of 3",
            id="dimensions do not fit the output",
        ),
    ],
)
def test_a_manifest_is_refused_when_its_parts_disagree(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Manifest.model_validate(manifest(**parts))


def image_model(datatype: str = "FP32", shape: tuple[int, ...] = (-1, 3, 4, 6), **image: Any) -> dict[str, Any]:
    inputs = [{"name": "pixels", "datatype": datatype, "shape": shape}]
    return manifest(
        task="ImageClassification",
        inputs=inputs,
        buckets=buckets({"pixels": [1, *shape[1:]]}),
        outputs=[{"name": "logits", "datatype": "FP32", "shape": [-1, 2]}],
        image={"resize": [4, 6], **image},
        classification={"labels": ["cat", "dog"]},
    )


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param(image_model(), id="stretched"),
        pytest.param(image_model(resize=9, crop=[4, 6]), id="resized and cropped"),
        pytest.param(image_model(shape=(-1, 4, 6, 3), layout="NHWC"), id="channels last"),
        pytest.param(image_model(shape=(-1, 1, 4, 6), color="L", mean=[0.5], std=[0.5]), id="gray"),
        pytest.param(image_model("UINT8", scale=1), id="pixels as they are"),
        pytest.param(image_model("BF16"), id="bfloat16"),
    ],
)
def test_an_image_model_says_how_a_file_becomes_its_input(parts: dict[str, Any]) -> None:
    parsed = Manifest.model_validate(parts)
    assert parsed.image is not None
    assert parsed.inputs[0].shape == (-1, *parsed.image.row_shape)
    assert Manifest.model_validate_json(parsed.model_dump_json(by_alias=True)) == parsed


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        pytest.param(image_model(resize=9), "images differ in size", id="size left open"),
        pytest.param(image_model(resize=[4, 5]), "makes rows of [3, 4, 5] (NCHW), the input says", id="other size"),
        pytest.param(image_model(layout="NHWC"), "makes rows of [4, 6, 3] (NHWC)", id="other layout"),
        pytest.param(image_model(mean=[0.5]), "one number for each channel of RGB", id="one mean"),
        pytest.param(image_model(std=[1, 1, 0]), "greater than 0", id="division by 0"),
        pytest.param(image_model("INT64"), "takes one input of FP32, FP16, BF16, UINT8", id="datatype"),
        pytest.param(image_model("UINT8"), "takes pixels as they are", id="normalized bytes"),
        pytest.param(image_model(resize=[0, 6]), "greater than or equal to 1", id="no height"),
        pytest.param(image_model(resample="cubic"), "Input should be 'nearest'", id="unknown filter"),
    ],
)
def test_an_image_part_is_refused_when_it_does_not_make_the_input(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        Manifest.model_validate(parts)


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../model.pt", "a/../b", "a//b", "./a", ".hidden", "a\\b", "a\nb", "a/", "", "a b"]
)
def test_a_path_is_refused_when_it_could_leave_the_bundle_or_has_a_second_spelling(path: str) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate(manifest(files=[{"path": path, "sha256": "0" * 64, "bytes": 1}]))
