"""The model bundle: what model.json says, as types. Pure; reading and verifying the files is `artifacts`' work.

A bundle is a directory with model.json and the files it names. Its digest is the sha256 of model.json, which
in turn holds the sha256 of every other file, so one digest pins the whole model.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

Datatype = Literal[
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "BF16", "FP32", "FP64"
]
Task = Literal["Tensor", "TextClassification", "TextEmbedding", "ImageClassification"]
IMAGE_DATATYPES: tuple[Datatype, ...] = ("FP32", "FP16", "BF16", "UINT8")
PARTS_OF_TASK: dict[Task, tuple[str, ...]] = {
    "TextClassification": ("text", "classification"),
    "TextEmbedding": ("text", "embedding"),
    "ImageClassification": ("image", "classification"),
}
# Segments start with a letter, digit or underscore: no absolute paths, no "..", no hidden files, one spelling a file.
RelativePath = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*$", max_length=512)
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PositiveInt = Annotated[int, Field(ge=1)]
Size = tuple[PositiveInt, PositiveInt]


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, protected_namespaces=()
    )


def _fits(shape: tuple[int, ...], spec: tuple[int, ...]) -> bool:
    return len(shape) == len(spec) and all(wanted in (-1, size) for size, wanted in zip(shape, spec, strict=True))


class TensorSpec(_Strict):
    """One input or output tensor of the model as clients see it."""

    name: str = Field(min_length=1, max_length=128)
    datatype: Datatype
    shape: tuple[int, ...] = Field(min_length=1, description="-1 first, for the batch; -1 where buckets differ.")

    @model_validator(mode="after")
    def _batch_comes_first(self) -> Self:
        if self.shape[0] != -1 or any(size == 0 or size < -1 for size in self.shape):
            raise ValueError(
                f"tensor {self.name}: shape {list(self.shape)} must start with -1, then positive sizes or -1"
            )
        return self


class Bucket(_Strict):
    """One compiled program: Neuron programs have fixed shapes, so each batch and sequence size is its own program."""

    file: RelativePath
    shapes: dict[str, tuple[int, ...]] = Field(min_length=1, description="Exact shape of every input, batch first.")
    device_bytes: int | None = Field(default=None, ge=0, description="Device memory the program takes, if known.")
    neuron_cores: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _shapes_are_fixed(self) -> Self:
        for name, shape in self.shapes.items():
            if not shape or min(shape) < 1:
                raise ValueError(f"bucket {self.file}: shape {list(shape)} of {name} must be positive sizes")
        return self

    @property
    def batch_size(self) -> int:
        return next(iter(self.shapes.values()))[0]


class BundleFile(_Strict):
    path: RelativePath
    sha256: Sha256
    bytes: int = Field(ge=0)


class Compiler(_Strict):
    name: str
    version: str


class TextSpec(_Strict):
    """How text becomes the model's inputs."""

    tokenizer: RelativePath = Field(description="A Hugging Face tokenizer.json.")
    pad_id: int = 0
    pad_side: Literal["right", "left"] = "right"
    truncate: bool = Field(default=False, description="Cut longer texts silently; false refuses them with 400.")


class ClassificationSpec(_Strict):
    labels: tuple[str, ...] = Field(min_length=1)
    activation: Literal["softmax", "sigmoid"] = "softmax"


class EmbeddingSpec(_Strict):
    dimensions: int = Field(ge=1)
    pooling: Literal["none", "mean", "cls"] = Field(description="none: the program already gives one vector a text.")
    normalize: bool = Field(description="Scale each vector to length 1 after pooling.")


class ImageSpec(_Strict):
    """How an image becomes the model's input; the steps happen in the order of the fields."""

    color: Literal["RGB", "BGR", "L"] = Field(default="RGB", description="Order of the channels; L is one, gray.")
    resize: PositiveInt | Size | None = Field(
        default=None,
        description="One number: the shorter edge gets this length, the other keeps the proportion. [height, width]: "
        "exactly these, whatever the proportion. Absent: the image stays as it came.",
    )
    resample: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] = "bilinear"
    crop: Size | None = Field(
        default=None, description="[height, width] around the center; what the image lacks is black."
    )
    scale: float = Field(default=1 / 255, gt=0, description="Pixels of 0 to 255 are multiplied by this first.")
    mean: tuple[float, ...] = Field(default=(0.0, 0.0, 0.0), description="Then this is taken off, by channel.")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(1.0, 1.0, 1.0), description="Then it is divided by this, by channel."
    )
    layout: Literal["NCHW", "NHWC"] = "NCHW"

    @model_validator(mode="after")
    def _channels_agree(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(f"mean and std must have one number for each channel of {self.color}")
        if not isinstance(self.resize, tuple) and self.crop is None:
            raise ValueError("images differ in size: give crop, or resize as [height, width]")
        return self

    @property
    def channels(self) -> int:
        return 1 if self.color == "L" else 3

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of one image as the model takes it, without the batch."""
        size = self.crop or self.resize
        assert isinstance(size, tuple), "_channels_agree refuses a spec that does not fix the size"
        return (self.channels, *size) if self.layout == "NCHW" else (*size, self.channels)

    @property
    def keeps_values(self) -> bool:
        """Whether the model takes the pixels as they are, 0 to 255."""
        return self.scale == 1 and not any(self.mean) and set(self.std) == {1.0}


class Manifest(_Strict):
    """model.json."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    version: str = Field(default="1", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    task: Task
    inputs: tuple[TensorSpec, ...] = Field(min_length=1, description="In the order the program was traced with.")
    outputs: tuple[TensorSpec, ...] = Field(min_length=1, description="In the order the program returns them.")
    buckets: tuple[Bucket, ...] = Field(min_length=1)
    target: str = Field(description="The instance family it was compiled for (inf2, trn1), or cpu.")
    compiler: Compiler | None = None
    text: TextSpec | None = None
    classification: ClassificationSpec | None = None
    embedding: EmbeddingSpec | None = None
    image: ImageSpec | None = None
    files: tuple[BundleFile, ...] = Field(min_length=1, description="Every file of the bundle but model.json itself.")

    @model_validator(mode="after")
    def _buckets_fit_the_inputs(self) -> Self:
        specs = {tensor.name: tensor.shape for tensor in self.inputs}
        seen: set[tuple[tuple[int, ...], ...]] = set()
        for bucket in self.buckets:
            if list(bucket.shapes) != list(specs):
                raise ValueError(
                    f"bucket {bucket.file}: shapes name {list(bucket.shapes)}, the inputs are {list(specs)}"
                )
            if len({shape[0] for shape in bucket.shapes.values()}) != 1:
                raise ValueError(f"bucket {bucket.file}: its inputs disagree on the batch size")
            for name, shape in bucket.shapes.items():
                if not _fits(shape, specs[name]):
                    raise ValueError(
                        f"bucket {bucket.file}: {name} is {list(shape)}, the input says {list(specs[name])}"
                    )
            key = tuple(bucket.shapes.values())
            if key in seen:
                raise ValueError(f"bucket {bucket.file}: another bucket has the same shapes")
            seen.add(key)
        return self

    @model_validator(mode="after")
    def _files_are_listed_once(self) -> Self:
        listed = [file.path for file in self.files]
        if len(set(listed)) != len(listed) or "model.json" in listed:
            raise ValueError("files must name each file once, and not model.json")
        named = [bucket.file for bucket in self.buckets] + ([self.text.tokenizer] if self.text else [])
        for path in named:
            if path not in listed:
                raise ValueError(f"{path} is not listed under files")
        return self

    @model_validator(mode="after")
    def _task_has_its_parts(self) -> Self:
        for part in PARTS_OF_TASK.get(self.task, ()):
            if getattr(self, part) is None:
                raise ValueError(f"task {self.task} needs the part '{part}'")
        last = self.outputs[0].shape[-1]
        if (
            "classification" in PARTS_OF_TASK.get(self.task, ())
            and self.classification
            and last not in (-1, len(self.classification.labels))
        ):
            raise ValueError(f"{len(self.classification.labels)} labels for an output of {last} classes")
        if self.task == "TextEmbedding" and self.embedding and last not in (-1, self.embedding.dimensions):
            raise ValueError(f"{self.embedding.dimensions} dimensions for an output of {last}")
        return self

    @model_validator(mode="after")
    def _image_fits_the_input(self) -> Self:
        if self.task != "ImageClassification" or self.image is None:
            return self
        first = self.inputs[0]
        if len(self.inputs) != 1 or first.datatype not in IMAGE_DATATYPES:
            raise ValueError(f"an image model takes one input of {', '.join(IMAGE_DATATYPES)}")
        if first.shape != (-1, *self.image.row_shape):
            raise ValueError(
                f"image makes rows of {list(self.image.row_shape)} ({self.image.layout}), "
                f"the input says {list(first.shape)}"
            )
        if first.datatype == "UINT8" and not self.image.keeps_values:
            raise ValueError("a UINT8 input takes pixels as they are: scale 1, mean 0, std 1")
        return self

    @property
    def largest_batch_size(self) -> int:
        return max(bucket.batch_size for bucket in self.buckets)

    @property
    def total_bytes(self) -> int:
        """All files but model.json itself."""
        return sum(file.bytes for file in self.files)
