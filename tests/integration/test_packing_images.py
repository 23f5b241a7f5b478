"""`pack` for image models: what an image processor's file says, what is guessed without one, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from integration.packed import fixed, hugging_face, pack, refusal
from neuron_runtime.bundle import Manifest
from runtime_builders import Brightness, traced

pytestmark = pytest.mark.integration

IMAGE = "--input=pixel_values:FP32:-1,3,8,8"
PREPROCESSOR: dict[str, Any] = {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": 8, "width": 8},
    "image_mean": [0.1, 0.2, 0.3],
    "image_std": [0.5, 0.6, 0.7],
    "resample": 3,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def image_program(folder: Path) -> str:
    traced(Brightness(), [torch.ones((1, 3, 8, 8))], folder / "image.pt")
    return str(folder / "image.pt")


def pack_image(folder: Path, processor: dict[str, Any] | None = None, *flags: str) -> Manifest:
    arguments = [image_program(folder), "--task=ImageClassification", "--batch-sizes=1", *flags]
    if not any(flag.startswith("--input") for flag in flags):
        arguments.append(IMAGE)
    if processor is not None:
        config = {"id2label": {str(index): name for index, name in enumerate(("red", "green", "blue"))}}
        arguments += ["--image-processor", hugging_face(folder, preprocessor_config=processor, config=config)]
    return pack(folder, *arguments)


def test_an_image_model_takes_what_its_processor_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = pack_image(folder, PREPROCESSOR)
    assert manifest.image is not None
    assert (manifest.image.resize, manifest.image.crop, manifest.image.resample) == ((8, 8), None, "bicubic")
    assert (manifest.image.mean, manifest.image.std) == ((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))
    assert (manifest.image.scale, manifest.image.layout, manifest.image.color) == (1 / 255, "NCHW", "RGB")
    assert manifest.classification is not None
    assert manifest.classification.labels == ("red", "green", "blue")
    said = capsys.readouterr().out
    for guess in ("layout NCHW", "resize (8, 8)", "mean [0.1, 0.2, 0.3]", "labels red, green, blue"):
        assert guess in said


@pytest.mark.parametrize(
    ("changes", "resize", "crop"),
    [
        pytest.param({"size": 8}, (8, 8), None, id="one number"),
        pytest.param(
            {"size": {"shortest_edge": 9}, "do_center_crop": True, "crop_size": {"height": 8, "width": 8}},
            9,
            (8, 8),
            id="shorter edge, then crop",
        ),
        pytest.param({"size": 10, "do_center_crop": True, "crop_size": 8}, (10, 10), (8, 8), id="numbers, then crop"),
        pytest.param(
            {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 8}, "crop_pct": 0.875},
            9,
            (8, 8),
            id="ConvNeXT",
        ),
        pytest.param(
            {"image_processor_type": None, "feature_extractor_type": "ConvNextFeatureExtractor", "size": 8},
            9,
            (8, 8),
            id="older ResNet",
        ),
        pytest.param({"do_resize": False, "do_center_crop": True, "crop_size": 8}, None, (8, 8), id="only crop"),
    ],
)
def test_sizes_are_written_in_many_ways(folder: Path, changes: dict[str, Any], resize: object, crop: object) -> None:
    manifest = pack_image(folder, PREPROCESSOR | changes)
    assert manifest.image is not None
    assert (manifest.image.resize, manifest.image.crop) == (resize, crop)


def test_values_are_left_alone_where_the_processor_does_so(folder: Path) -> None:
    image = pack_image(folder, PREPROCESSOR | {"do_rescale": False, "do_normalize": False}).image
    assert image is not None
    assert image.keeps_values


def test_without_a_processor_the_input_s_shape_is_all_there_is(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = pack_image(folder)
    assert manifest.image is not None
    assert (manifest.image.resize, manifest.image.mean, manifest.image.std) == ((8, 8), (0.5,) * 3, (0.5,) * 3)
    said = capsys.readouterr().out
    for guess in ("images stretched to 8 x 8", "mean and std 0.5", "labels class-0, class-1, class-2"):
        assert guess in said


def test_a_processor_of_other_steps_is_said_to_be_unknown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack_image(folder, PREPROCESSOR | {"image_processor_type": "FancyImageProcessor"})
    assert "the steps of FancyImageProcessor are not known here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "flag", "said"),
    [
        pytest.param({"size": {"height": 9, "width": 9}}, IMAGE, "image makes rows of [3, 9, 9]", id="other size"),
        pytest.param({"size": {"longest_edge": 8}}, IMAGE, "image.resize", id="a size not known"),
        pytest.param({"resample": 17}, IMAGE, "image.resample", id="a filter not known"),
        pytest.param({"image_mean": [0.5]}, IMAGE, "one number for each channel", id="one mean"),
    ],
)
def test_a_processor_that_does_not_make_the_input_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], flag: str, said: str
) -> None:
    model = hugging_face(folder, preprocessor_config=PREPROCESSOR | changes)
    flags = ["--task=ImageClassification", "--batch-sizes=1", "--image-processor", model]
    assert said in refusal(folder, capsys, image_program(folder), flag, *flags)


def test_an_image_folder_without_a_processor_is_told_how_to_write_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--task=ImageClassification", "--image-processor", str(folder)]
    assert "AutoImageProcessor" in refusal(folder, capsys, image_program(folder), IMAGE, *flags)


def test_an_input_that_is_no_image_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(folder, capsys, fixed(folder, 4, 3), "--input=x:FP32:-1,3", "--task=ImageClassification")
    assert "Input x [-1, 3] is no image" in said
