"""What a Hugging Face folder says about images, as the bundle's `image` part: preprocessor_config.json and config.json.

Decisions only, but for reading the two files. What no file says is taken from the program's input, or is what most
processors do; each such guess goes into the choices' notes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuron_runtime.bundle import TensorSpec
from neuron_runtime.packing.hugging_face import labels_of, read_object
from neuron_runtime.packing.writing import Choices
from neuron_runtime.termination import FatalError, Reason

PROCESSOR_FILE = "preprocessor_config.json"
_FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""By Pillow's numbers, which Hugging Face writes."""
_STEPS_KNOWN = ("ViT", "DeiT", "Beit", "Bit", "CLIP", "Siglip", "ConvNext", "MobileNetV1", "MobileNetV2", "MobileViT")
_FULL_CROP_EDGE = 384
"""From this size on ConvNeXT's processor stretches the image and crops nothing."""


@dataclass(frozen=True)
class ImageFolder:
    """`processor` is empty where there is no preprocessor_config.json."""

    processor: Mapping[str, Any]
    labels: tuple[str, ...] | None = None
    is_multi_label: bool = False


def read_image_folder(given: Path | None) -> ImageFolder:
    """`given` is the folder, or the preprocessor_config.json in it; None reads nothing."""
    if given is None:
        return ImageFolder({})
    path = given if given.is_file() else given / PROCESSOR_FILE
    if not path.is_file():
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"There is no {PROCESSOR_FILE} in {given}.",
            hint="Write one with transformers: AutoImageProcessor.from_pretrained(MODEL).save_pretrained(FOLDER).",
        )
    config = read_object(path.parent / "config.json")
    is_multi_label = config.get("problem_type") == "multi_label_classification"
    return ImageFolder(read_object(path), labels_of(config), is_multi_label)


def image_part(choices: Choices, folder: ImageFolder, tensor: TensorSpec) -> dict[str, Any]:
    """The `image` part for a program whose input is `tensor`, [batch, channels, height, width] or channels last."""
    layout, channels, size = _layout(choices, tensor)
    processor = folder.processor
    if not processor:
        choices.assume(f"images stretched to {size[0]} x {size[1]}, bilinear", "the input's shape; no image processor")
        sizes: dict[str, Any] = {"resize": size, "resample": "bilinear"}
    else:
        _note_unknown_steps(choices, processor)
        sizes = _sizes(choices, processor)
    color = "L" if channels == 1 else ("BGR" if processor.get("do_flip_channel_order") else "RGB")
    values = _values(choices, processor, channels, keep=tensor.datatype == "UINT8")
    return {"color": color, **sizes, **values, "layout": layout}


def _layout(choices: Choices, tensor: TensorSpec) -> tuple[str, int, tuple[int, int]]:
    shape = tensor.shape
    if len(shape) == 4 and min(shape[1:]) > 0:
        for layout, place in (("NCHW", 1), ("NHWC", 3)):
            if shape[place] in (1, 3):
                choices.assume(f"layout {layout}", f"the shape of {tensor.name}")
                height, width = shape[2:] if place == 1 else shape[1:3]
                return layout, shape[place], (height, width)
    raise FatalError(
        Reason.INVALID_CONFIGURATION,
        f"Input {tensor.name} {list(shape)} is no image: it needs a batch, a height, a width and 1 or 3 channels.",
        hint="Write it such as --input pixel_values:FP32:-1,3,224,224, or pack it as task Tensor.",
    )


def _note_unknown_steps(choices: Choices, processor: Mapping[str, Any]) -> None:
    kind = _kind(processor)
    if not kind.startswith(_STEPS_KNOWN):
        choices.assume(
            "resize, crop, rescale and normalize in this order",
            f"the steps of {kind or 'this processor'} are not known here: compare its values with this bundle's",
        )


def _sizes(choices: Choices, processor: Mapping[str, Any]) -> dict[str, Any]:
    filter_number = processor.get("resample", 2)
    found: dict[str, Any] = {"resample": _FILTERS[filter_number] if filter_number in range(6) else filter_number}
    if processor.get("do_resize", True):
        found |= _resize(choices, processor)
    if processor.get("do_center_crop"):
        found["crop"] = _pair(processor.get("crop_size", 224))
    words = ", ".join(f"{name} {value}" for name, value in found.items())
    choices.assume(words, PROCESSOR_FILE)
    return found


def _resize(choices: Choices, processor: Mapping[str, Any]) -> dict[str, Any]:
    size = processor.get("size", 224)
    is_convnext = _kind(processor).startswith("ConvNext")
    edge = size.get("shortest_edge") if isinstance(size, dict) else (size if is_convnext else None)
    if edge is None:
        if isinstance(size, int):
            choices.assume(f"images stretched to {size} x {size}", f"size in {PROCESSOR_FILE} is one number")
        return {"resize": _pair(size)}
    if not is_convnext:
        return {"resize": edge}
    if edge >= _FULL_CROP_EDGE:
        return {"resize": (edge, edge)}
    return {"resize": int(edge / processor.get("crop_pct", 224 / 256)), "crop": (edge, edge)}


def _values(choices: Choices, processor: Mapping[str, Any], channels: int, *, keep: bool) -> dict[str, Any]:
    """What happens to the values: nothing for a UINT8 input."""
    if keep:
        choices.assume("pixels as they are", "the input is UINT8")
        return {"scale": 1.0, "mean": (0.0,) * channels, "std": (1.0,) * channels}
    scale = float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 1.0
    if not processor.get("do_normalize", True):
        return {"scale": scale, "mean": (0.0,) * channels, "std": (1.0,) * channels}
    mean, std = (_per_channel(processor.get(name), channels) for name in ("image_mean", "image_std"))
    if mean is None or std is None:
        mean = std = (0.5,) * channels
        choices.assume("mean and std 0.5", f"no image_mean and image_std in {PROCESSOR_FILE}")
    else:
        choices.assume(f"mean {[*mean]} and std {[*std]}", PROCESSOR_FILE)
    return {"scale": scale, "mean": mean, "std": std}


def _per_channel(given: object, channels: int) -> tuple[float, ...] | None:
    if isinstance(given, int | float):
        return (float(given),) * channels
    return tuple(map(float, given)) if isinstance(given, list) else None


def _pair(size: object) -> object:
    """[height, width] of a size in any of the ways it is written; others go to the manifest, which refuses them."""
    if isinstance(size, dict) and "height" in size and "width" in size:
        return size["height"], size["width"]
    return (size, size) if isinstance(size, int) else size


def _kind(processor: Mapping[str, Any]) -> str:
    return str(processor.get("image_processor_type") or processor.get("feature_extractor_type") or "")
