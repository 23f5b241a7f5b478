"""Texts to inputs: padded to a bucket, never cut unless the bundle says so."""

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from bundle_files import manifest
from neuron_runtime.bundle import Manifest, TensorSpec, TextSpec
from neuron_runtime.termination import FatalError, Reason
from neuron_runtime.tokens import TextEncoder, TextTooLongError, UnknownTokenError, load_tokenizer, sequence_lengths

PAD, FIRST, LAST = 9, 7, 8
WORDS = {"[UNK]": 0, "good": 1, "bad": 2, "[CLS]": FIRST, "[SEP]": LAST, "[PAD]": PAD}


def tokenizer() -> Tokenizer:
    """Its own truncation and padding, as saved after training, must not show."""
    made = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", FIRST), ("[SEP]", LAST)]
    )
    made.enable_truncation(3)
    made.enable_padding(length=100, pad_id=5)
    return made


def encoder(lengths: tuple[int, ...] = (4, 8), datatype: str = "INT64", **spec: object) -> TextEncoder:
    names = ("input_ids", "attention_mask", "token_type_ids")
    inputs = [TensorSpec.model_validate({"name": name, "datatype": datatype, "shape": [-1, -1]}) for name in names]
    text = TextSpec.model_validate({"tokenizer": "t.json", "padId": PAD, **spec})
    return TextEncoder(tokenizer(), text, inputs, lengths)


def test_texts_are_padded_to_the_shortest_length_that_holds_them_all() -> None:
    encoded = encoder().encode(["good", "bad good"])
    assert encoded.arrays["input_ids"].tolist() == [[FIRST, 1, LAST, PAD], [FIRST, 2, 1, LAST]]
    assert encoded.arrays["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert encoded.arrays["token_type_ids"].tolist() == [[0, 0, 0, 0], [0, 0, 0, 0]]
    assert encoded.token_counts == (3, 4)
    assert encoder().encode(["good", "bad bad bad"]).sequence_length == 8


def test_padding_goes_left_where_the_bundle_says_so() -> None:
    encoded = encoder(padSide="left").encode(["good"])
    assert encoded.arrays["input_ids"].tolist() == [[PAD, FIRST, 1, LAST]]
    assert encoded.arrays["attention_mask"].tolist() == [[0, 1, 1, 1]]


@pytest.mark.parametrize(("datatype", "dtype"), [("INT32", np.int32), ("INT64", np.int64)])
def test_inputs_have_the_datatype_of_the_program(datatype: str, dtype: type[np.generic]) -> None:
    assert encoder(datatype=datatype).encode(["good"]).arrays["input_ids"].dtype == dtype


def test_a_text_that_is_too_long_is_refused_naming_the_limit() -> None:
    with pytest.raises(TextTooLongError, match=r"text 1 has 9 tokens .* at most 8") as caught:
        encoder().encode(["good", "good " * 7])
    assert (caught.value.index, caught.value.tokens, caught.value.limit) == (1, 9, 8)


def test_a_text_of_exactly_the_limit_is_taken() -> None:
    assert encoder().encode(["good " * 6]).token_counts == (8,)


def test_a_text_that_is_too_long_is_cut_only_where_the_bundle_says_so() -> None:
    encoded = encoder(truncate=True).encode(["good " * 50])
    assert encoded.arrays["input_ids"].tolist() == [[FIRST, *[1] * 6, LAST]]


def test_an_empty_text_is_its_special_tokens_and_no_text_no_row() -> None:
    assert encoder().encode([""]).token_counts == (2,)
    assert encoder().encode([]).arrays["input_ids"].shape == (0, 4)


def test_token_ids_are_taken_as_they_are_and_padded_as_texts() -> None:
    encoded = encoder().encode_token_ids([[1], [FIRST, 2, LAST]])
    assert encoded.arrays["input_ids"].tolist() == [[1, PAD, PAD, PAD], [FIRST, 2, LAST, PAD]]
    assert encoded.arrays["attention_mask"].tolist() == [[1, 0, 0, 0], [1, 1, 1, 0]]
    assert encoded.arrays["token_type_ids"].tolist() == [[0] * 4, [0] * 4]
    assert encoded.token_counts == (1, 3)


def test_the_ids_of_a_text_give_the_rows_of_the_text() -> None:
    texts = encoder().encode(["good bad", "bad"])
    ids = encoder().encode_token_ids([[FIRST, 1, 2, LAST], [FIRST, 2, LAST]])
    assert all(np.array_equal(texts.arrays[name], ids.arrays[name]) for name in texts.arrays)
    assert texts.token_counts == ids.token_counts


@pytest.mark.parametrize("token", [-1, PAD + 1, 2**70])
def test_a_token_id_beyond_the_vocabulary_is_named(token: int) -> None:
    with pytest.raises(UnknownTokenError, match=rf"token id {token} is not in .* ids 0 to {PAD}") as caught:
        encoder(datatype="INT32").encode_token_ids([[PAD], [1, token]])
    assert caught.value.index == 1


def test_too_many_token_ids_are_refused_or_cut_as_texts_are() -> None:
    with pytest.raises(TextTooLongError, match=r"text 1 has 9 tokens .* at most 8"):
        encoder().encode_token_ids([[1], [1] * 9])
    assert encoder(truncate=True).encode_token_ids([[1] * 9]).token_counts == (8,)


@pytest.mark.parametrize(
    ("inputs", "shapes"),
    [
        pytest.param([("pixels", "INT64", [-1, 8])], [{"pixels": [1, 8]}], id="unknown name"),
        pytest.param([("input_ids", "FP32", [-1, 8])], [{"input_ids": [1, 8]}], id="not integers"),
        pytest.param([("input_ids", "INT64", [-1, 8, 2])], [{"input_ids": [1, 8, 2]}], id="three dimensions"),
        pytest.param(
            [("input_ids", "INT64", [-1, 8]), ("attention_mask", "INT64", [-1, 4])],
            [{"input_ids": [1, 8], "attention_mask": [1, 4]}],
            id="two lengths",
        ),
    ],
)
def test_inputs_that_no_tokenizer_fills_are_refused_when_the_model_loads(
    inputs: list[tuple[str, str, list[int]]], shapes: list[dict[str, list[int]]]
) -> None:
    specs = [dict(zip(("name", "datatype", "shape"), tensor, strict=True)) for tensor in inputs]
    buckets = [{"file": "batch-1.pt", "shapes": shape} for shape in shapes]
    with pytest.raises(FatalError) as caught:
        sequence_lengths(Manifest.model_validate(manifest(inputs=specs, buckets=buckets)))
    assert caught.value.reason is Reason.MODEL_LOAD_FAILED


def test_a_broken_tokenizer_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(FatalError, match=r"tokenizer\.json is not a tokenizer"):
        load_tokenizer(tmp_path / "tokenizer.json")
