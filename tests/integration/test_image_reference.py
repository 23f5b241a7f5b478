"""Images become what Hugging Face's image processors make of them: sizes, crop, resampling, values.

Beside the integration tests because importing transformers takes seconds.
"""

from typing import Any

import numpy as np
import pytest
from PIL import Image
from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

from image_files import file_of, noise
from neuron_runtime.bundle import ImageSpec, TensorSpec
from neuron_runtime.images import ImageEncoder

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = [(30, 40), (640, 333), (50, 60), (224, 224), (500, 225)]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    ("processor", "spec"),
    [
        pytest.param(
            ViTImageProcessorPil(image_mean=MEAN, image_std=STD),
            {"resize": [224, 224], "mean": MEAN, "std": STD},
            id="stretched, as ViT",
        ),
        pytest.param(
            ConvNextImageProcessorPil(size={"shortest_edge": 224}, crop_pct=0.875, image_mean=MEAN, image_std=STD),
            {"resize": 256, "crop": [224, 224], "resample": "bicubic", "mean": MEAN, "std": STD},
            id="resized and cropped, as ResNet and ConvNeXT",
        ),
        pytest.param(
            ViTImageProcessorPil(
                size={"shortest_edge": 50},
                do_center_crop=True,
                crop_size={"height": 71, "width": 64},
                do_normalize=False,
                resample=Image.Resampling.LANCZOS,
            ),
            {"resize": 50, "crop": [71, 64], "resample": "lanczos"},
            id="cropped beyond the image",
        ),
    ],
)
def test_an_image_becomes_what_hugging_face_makes_of_it(
    processor: Any, spec: dict[str, Any], size: tuple[int, int]
) -> None:
    pixels = noise(*size)
    reference = np.asarray(processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"])

    image = ImageSpec.model_validate(spec)
    tensor = TensorSpec(name="pixels", datatype="FP32", shape=(-1, *image.row_shape))
    found = ImageEncoder(image, tensor, max_pixels=1_000_000).encode(file_of(pixels), "image")

    assert found.shape == reference.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference, rtol=0, atol=1e-6)
