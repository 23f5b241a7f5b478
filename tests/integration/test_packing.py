"""`pack` with plain TorchScript: shapes found by trying, guesses said, and an error for each way to get it wrong."""

from pathlib import Path
from typing import Any

import pytest
import torch

from integration.packed import fixed, hugging_face, pack, refusal
from neuron_runtime import packing
from neuron_runtime.artifacts import load_bundle
from runtime_builders import traced

pytestmark = pytest.mark.integration

IDS, MASK = "--input=input_ids:INT64:-1,6", "--input=attention_mask:INT64:-1,6"


class Scores(torch.nn.Module):
    """Texts to 2 scores."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return (input_ids * attention_mask).float()[:, :2]


class Vectors(torch.nn.Module):
    """Texts to a vector for each token, or for each text, of any length or of length 1."""

    def __init__(self, pooled: bool = False, normalized: bool = False) -> None:
        super().__init__()
        self.pooled, self.normalized = pooled, normalized
        self.directions = torch.nn.Parameter(torch.tensor([3.0, 4.0, 12.0]))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        vectors = (input_ids + attention_mask).float().unsqueeze(-1) * self.directions
        vectors = vectors.mean(dim=1) if self.pooled else vectors
        return torch.nn.functional.normalize(vectors, dim=-1) if self.normalized else vectors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def text_program(folder: Path, module: torch.nn.Module) -> str:
    ids = torch.ones((2, 6), dtype=torch.int64)
    traced(module, [ids, ids], folder / "text.pt")
    return str(folder / "text.pt")


def test_several_programs_become_buckets_of_the_sizes_found_by_trying(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = pack(folder, fixed(folder, 4, 3), fixed(folder, 1, 3), "--input=x:FP32:-1,3", "--task=Tensor")
    assert [(bucket.file, bucket.shapes) for bucket in manifest.buckets] == [
        ("batch-1x3.pt", {"x": (1, 3)}),
        ("batch-4x3.pt", {"x": (4, 3)}),
    ]
    assert [(output.name, output.datatype, output.shape) for output in manifest.outputs] == [
        ("output", "FP32", (-1, 3))
    ]
    assert manifest.name == "out"
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == load_bundle(folder / "out").digest
    assert any("assumed target cpu" in line for line in said)


def test_sizes_after_the_batch_are_found_too(folder: Path) -> None:
    manifest = pack(folder, fixed(folder, 2, 64), fixed(folder, 2, 128), "--input=x:FP32:-1,-1", "--task=Tensor")
    assert [bucket.shapes["x"] for bucket in manifest.buckets] == [(2, 64), (2, 128)]
    assert manifest.inputs[0].shape == manifest.outputs[0].shape == (-1, -1)


def test_a_batch_size_that_was_given_is_the_one_tried(folder: Path) -> None:
    manifest = pack(folder, fixed(folder, 77, 3), "--input=x:FP32:77,3", "--task=Tensor")
    assert manifest.buckets[0].batch_size == 77
    assert manifest.inputs[0].shape == (-1, 3)


def test_a_program_that_takes_any_batch_is_offered_in_the_sizes_asked_for(folder: Path) -> None:
    program = text_program(folder, Scores())
    manifest = pack(folder, program, IDS, MASK, "--task=Tensor", "--batch-sizes=2,16")
    assert [(bucket.file, bucket.batch_size) for bucket in manifest.buckets] == [
        ("any-batch.pt", 2),
        ("any-batch.pt", 16),
    ]
    assert [file.path for file in manifest.files] == ["any-batch.pt"]


def test_a_classifier_takes_what_its_folder_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = hugging_face(
        folder,
        config={"id2label": {"1": "good", "0": "bad"}, "max_position_embeddings": 512},
        tokenizer_config={"pad_token": "[PAD]", "padding_side": "left", "model_max_length": 1e30},
    )
    manifest = pack(
        folder, text_program(folder, Scores()), IDS, MASK, "--task=TextClassification", "--tokenizer", model
    )
    assert manifest.classification is not None
    assert manifest.classification.labels == ("bad", "good")
    assert manifest.classification.activation == "softmax"
    assert manifest.text is not None
    assert (manifest.text.pad_id, manifest.text.pad_side, manifest.text.truncate) == (3, "left", False)
    said = capsys.readouterr().out
    for guess in ("labels bad, good (id2label in config.json)", "assumed softmax", "pad id 3", "at most 6 tokens"):
        assert guess in said


def test_what_was_said_is_not_guessed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = hugging_face(folder, config={"id2label": {"0": "x", "1": "y"}})
    flags = ["--labels=no,yes", "--activation=sigmoid", "--truncate", "--target=trn1", "--compiler=neuronx-cc:2.26"]
    flags += ["--name=mine", "--version=7", "--output=scores:FP32:-1,2", "--task=TextClassification"]
    manifest = pack(folder, text_program(folder, Scores()), IDS, MASK, *flags, "--tokenizer", model)
    assert manifest.classification is not None
    assert (manifest.classification.labels, manifest.classification.activation) == (("no", "yes"), "sigmoid")
    assert manifest.text is not None
    assert manifest.text.truncate
    assert (manifest.name, manifest.version, manifest.target) == ("mine", "7", "trn1")
    assert manifest.compiler is not None
    assert (manifest.compiler.name, manifest.compiler.version) == ("neuronx-cc", "2.26")
    assert manifest.outputs[0].name == "scores"
    said = capsys.readouterr().out
    assert not any(word in said for word in ("assumed labels", "assumed sigmoid", "assumed target"))


@pytest.mark.parametrize(
    ("module", "files", "pooling", "normalize"),
    [
        pytest.param(Vectors(), {}, "mean", True, id="a vector a token"),
        pytest.param(Vectors(), {"pooling": {"pooling_mode_cls_token": True}}, "cls", True, id="pooled by its first"),
        pytest.param(Vectors(pooled=True), {}, "none", True, id="a vector a text"),
        pytest.param(Vectors(pooled=True), {"modules": [{"type": "Pooling"}]}, "none", False, id="never normalized"),
        pytest.param(Vectors(pooled=True, normalized=True), {}, "none", False, id="normalized already"),
    ],
)
def test_an_embedding_is_pooled_and_normalized_by_what_the_program_leaves_to_do(
    folder: Path, module: torch.nn.Module, files: dict[str, Any], pooling: str, normalize: bool
) -> None:
    model = hugging_face(folder, **files)
    manifest = pack(folder, text_program(folder, module), IDS, MASK, "--task=TextEmbedding", "--tokenizer", model)
    assert manifest.embedding is not None
    assert (manifest.embedding.dimensions, manifest.embedding.pooling) == (3, pooling)
    assert manifest.embedding.normalize is normalize


def test_a_program_of_other_shapes_is_refused_with_its_own_words(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(folder, capsys, fixed(folder, 4, 3), "--input=x:FP32:-1,5", "--task=Tensor")
    assert "runs with none of the shapes tried for x FP32 [-1, 5]" in said
    assert "is invalid for input of size 5" in said


def test_a_program_of_any_size_needs_to_be_told_its_size(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refusal(
        folder,
        capsys,
        text_program(folder, Scores()),
        IDS.replace(",6", ",-1"),
        MASK.replace(",6", ",-1"),
        "--task=Tensor",
    )
    assert "takes any size of input_ids" in said
    assert "--input input_ids:INT64:-1,128" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        pytest.param(["--task=TextClassification"], "needs a tokenizer", id="no tokenizer"),
        pytest.param(["--task=TextEmbedding", "--tokenizer=/nothing"], "no tokenizer.json in", id="tokenizer missing"),
        pytest.param(["--task=Tensor", "--output=y:FP32:-1,9"], "the program returned FP32 [-1, 2]", id="output shape"),
        pytest.param(["--task=Tensor", "--output=y:INT64:-1,2"], "--output y says INT64", id="output datatype"),
        pytest.param(
            ["--task=Tensor", "--output=a:FP32:-1,2", "--output=b:FP32:-1,2"], "--output names 2", id="outputs"
        ),
        pytest.param(["--task=Tensor", "--name=a b"], "name: String should match", id="name"),
    ],
)
def test_arguments_that_do_not_fit_the_program_are_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert said in refusal(folder, capsys, text_program(folder, Scores()), IDS, MASK, *arguments)


def test_labels_that_do_not_fit_the_outputs_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--task=TextClassification", "--labels=a,b,c", "--tokenizer", hugging_face(folder)]
    assert "3 labels for an output of 2" in refusal(folder, capsys, text_program(folder, Scores()), IDS, MASK, *flags)


def test_sequences_longer_than_the_model_knows_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--task=TextEmbedding", "--tokenizer", hugging_face(folder, config={"max_position_embeddings": 4})]
    assert "limit is 4" in refusal(folder, capsys, text_program(folder, Vectors()), IDS, MASK, *flags)


def test_two_programs_of_one_shape_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = fixed(folder, 4, 3)
    assert "take the same shapes" in refusal(folder, capsys, program, program, "--input=x:FP32:-1,3", "--task=Tensor")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(None, "There is no file", id="missing"),
        pytest.param(b"a pickled state_dict", "is not a TorchScript program", id="not TorchScript"),
    ],
)
def test_a_file_that_is_no_program_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, said: str
) -> None:
    if content is not None:
        (folder / "x.pt").write_bytes(content)
    shown = refusal(folder, capsys, str(folder / "x.pt"), "--input=x:FP32:-1,3", "--task=Tensor")
    assert said in shown
    assert "x.pt" in shown


def test_what_lies_at_the_destination_is_kept_unless_forced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [fixed(folder, 4, 3), "--input=x:FP32:-1,3", "--task=Tensor", "-o", str(folder / "out")]
    (folder / "out").mkdir()
    (folder / "out" / "thesis.txt").write_text("mine")
    assert packing.run([*arguments, "--force"]) == 1
    assert (folder / "out" / "thesis.txt").exists()
    (folder / "out" / "thesis.txt").unlink()
    assert packing.run(arguments) == 0
    assert packing.run(arguments) == 1
    assert "Add --force" in capsys.readouterr().err
    assert packing.run([*arguments, "--force"]) == 0


@pytest.mark.parametrize(
    "flag", ["--input=x:32:-1,4", "--input=x", "--input=x:FP32:0,4", "--input=x:FP32:a", "--compiler=x", "--labels=a,a"]
)
def test_a_flag_that_cannot_be_read_is_shown_how_to_write(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        packing.run(["x.pt", "--input=x:FP32:-1,4", flag, "--task=Tensor", "-o", "out"])
    assert flag.partition("=")[2] in capsys.readouterr().err
