"""The arguments of `neuron-runtime pack`, and tensors as they are written there: NAME:DATATYPE:SIZE,SIZE,…"""

import argparse
from pathlib import Path
from typing import get_args

from neuron_runtime.bundle import Compiler, Datatype, Task, TensorSpec

_DESCRIPTION = """Writes a model bundle from TorchScript files, one for each bucket (a batch and sequence size).
Each program is loaded and run first, so the bundle says what the programs really take and return.
What is not given is read from the model's Hugging Face folder where it says so; every guess is printed."""
_EXAMPLE = """example:
  neuron-runtime pack b1.pt b4.pt --task TextClassification --tokenizer ./my-model --labels negative,positive \\
    --input input_ids:INT64:-1,128 --input attention_mask:INT64:-1,128 -o bundle"""


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="neuron-runtime pack",
        description=_DESCRIPTION,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("programs", nargs="+", type=Path, metavar="model.pt", help="a saved TorchScript program")
    parser.add_argument(
        "--input", dest="inputs", action="append", required=True, type=_tensor, metavar="NAME:TYPE:SHAPE",
        help="an input in trace order; -1 first lets pack find each program's batch size by trying",
    )  # fmt: skip
    parser.add_argument(
        "--output", dest="outputs", action="append", default=[], type=_tensor, metavar="NAME:TYPE:SHAPE",
        help="an output in the order returned (default: as found by trying)",
    )  # fmt: skip
    parser.add_argument("--task", required=True, choices=get_args(Task))
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="DIR", help="where the bundle goes")
    parser.add_argument("--force", action="store_true", help="replace a bundle that lies at DIR")
    parser.add_argument("--name", help="the model's name (default: the last part of DIR)")
    parser.add_argument("--version", default="1", help="the model's version (default 1)")
    parser.add_argument("--target", help="what it was compiled for: inf2, trn1, … or cpu (default: by the program)")
    parser.add_argument("--compiler", type=_compiler, metavar="NAME:VERSION", help="default: the one installed here")
    parser.add_argument(
        "--batch-sizes", type=_sizes, metavar="N,N", help="the batch sizes to try, or to offer where any size works"
    )
    _add_task_flags(parser)
    return parser.parse_args(argv)


def _add_task_flags(parser: argparse.ArgumentParser) -> None:
    text = parser.add_argument_group("text tasks")
    text.add_argument("--tokenizer", type=Path, metavar="DIR", help="Hugging Face folder (or file) with tokenizer.json")
    text.add_argument("--truncate", action="store_true", help="cut texts that are too long instead of refusing them")
    text.add_argument("--pooling", choices=["none", "mean", "cls"], help="from token vectors to one vector a text")
    text.add_argument("--normalize", action=argparse.BooleanOptionalAction, help="scale embeddings to length 1")
    image = parser.add_argument_group("image tasks")
    image.add_argument(
        "--image-processor", type=Path, metavar="DIR",
        help="Hugging Face folder (or file) with preprocessor_config.json (default: stretched to the input's size)",
    )  # fmt: skip
    classes = parser.add_argument_group("classification of texts or images")
    classes.add_argument("--labels", type=_labels, metavar="A,B", help="class names in the order of the outputs")
    classes.add_argument("--activation", choices=["softmax", "sigmoid"], help="from scores to confidences")


def _tensor(text: str) -> TensorSpec:
    name, datatype, sizes = [*text.rsplit(":", 2), "", ""][:3]
    if datatype not in get_args(Datatype):
        raise argparse.ArgumentTypeError(
            f"{text!r}: write NAME:DATATYPE:SHAPE such as input_ids:INT64:-1,128, with a datatype of "
            f"{', '.join(get_args(Datatype))}"
        )
    try:
        shape = [int(size) for size in sizes.split(",")]
        # A fixed batch only says what to try; the model's clients always see a free one.
        spec = TensorSpec.model_validate({"name": name, "datatype": datatype, "shape": [-1, *shape[1:]]})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {_first_line(error)}") from None
    if shape[0] == 0 or shape[0] < -1:
        raise argparse.ArgumentTypeError(f"{text!r}: the batch is -1 or a positive number")
    return spec.model_copy(update={"shape": tuple(shape)})


def _compiler(text: str) -> Compiler:
    name, _, version = text.partition(":")
    if not name or not version:
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME:VERSION such as neuronx-cc:2.26.6360.0")
    return Compiler(name=name, version=version)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write positive sizes such as 1,4")
    return sizes


def _labels(text: str) -> tuple[str, ...]:
    labels = tuple(label.strip() for label in text.split(","))
    if not all(labels) or len(set(labels)) != len(labels):
        raise argparse.ArgumentTypeError(f"{text!r}: write different names such as negative,positive")
    return labels


def _first_line(error: ValueError) -> str:
    """pydantic's errors take several lines, of which the last but one tells; int()'s takes one."""
    lines = str(error).splitlines()
    return lines[2].strip().removeprefix("Value error, ") if len(lines) > 2 else lines[0]
