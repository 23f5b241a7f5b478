"""The Open Inference Protocol's codec of one model: what it takes, what it answers, and that nothing else comes out."""

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from neuron_runtime.bundle import Bucket, TensorSpec
from neuron_runtime.errors import InferenceFailedError, InvalidRequestError
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import DTYPES, WITHOUT_JSON_FORM, Array
from neuron_runtime.wire.infer_request import InferCall, Wanted
from neuron_runtime.wire.infer_response import InferReply
from neuron_runtime.wire.open_inference import OpenInferenceCodec, model_metadata, server_metadata

LENGTH = b"inference-header-content-length"
JSON_TYPES = [name for name in (*DTYPES, "BYTES") if name not in WITHOUT_JSON_FORM]


def spec(name: str, datatype: str, *shape: int) -> TensorSpec:
    # Unchecked: no bundle holds BYTES, because no program takes strings, but the protocol has them.
    fields: dict[str, Any] = {"name": name, "datatype": datatype, "shape": (-1, *shape)}
    return TensorSpec.model_construct(**fields)


def model(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec] = ()) -> ServedModel:
    return ServedModel(
        name="m",
        version="3",
        task="Tensor",
        platform="test",
        inputs=tuple(inputs),
        outputs=tuple(outputs or inputs),
        buckets=(Bucket(file="b", shapes={one.name: (1, *(abs(s) for s in one.shape[1:])) for one in inputs}),),
    )


PAIR = OpenInferenceCodec(model([spec("x", "FP32", 2), spec("y", "INT64", -1)], [spec("z", "FP32", 2)]))
HALF = OpenInferenceCodec(model([spec("x", "FP16", 2)], [spec("h", "FP16", 2), spec("z", "FP32", 2)]))
X: dict[str, Any] = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
Y: dict[str, Any] = {"name": "y", "datatype": "INT64", "shape": [1, 3], "data": [3, 4, 5]}


def parse(codec: OpenInferenceCodec, document: object, payload: bytes | None = None) -> InferCall:
    head = json.dumps(document).encode()
    if payload is None:
        return codec.parse(head, {})
    return codec.parse(head + payload, {LENGTH: str(len(head)).encode()})


def raw(tensor: dict[str, Any], size: object) -> dict[str, Any]:
    return {key: value for key, value in tensor.items() if key != "data"} | {"parameters": {"binary_data_size": size}}


def parts(reply: InferReply) -> tuple[dict[str, Any], bytes]:
    headers = dict(reply.headers)
    length = int(headers.get(LENGTH, len(reply.body)))
    document: dict[str, Any] = json.loads(reply.body[:length])
    return document, reply.body[length:]


def test_inputs_come_in_the_models_order_whatever_the_requests() -> None:
    call = parse(PAIR, {"id": "a", "inputs": [Y, X]})

    assert [array.tolist() for array in call.inputs] == [[[1.0, 2.0]], [[3, 4, 5]]]
    assert (call.id, call.rows, call.wanted) == ("a", 1, (Wanted(0, as_binary=False),))


def test_null_is_the_same_as_nothing_for_what_may_be_left_out() -> None:
    absent = {"id": None, "parameters": None, "outputs": None}

    call = parse(PAIR, {"inputs": [X | {"parameters": None}, Y], **absent})

    assert (call.id, call.wanted) == (None, (Wanted(0, as_binary=False),))


def test_json_and_binary_inputs_mix_in_the_order_of_the_json() -> None:
    payload = np.array([7, 8, 9], "<i8").tobytes() + np.array([0.5, np.nan], "<f4").tobytes()

    mixed = parse(PAIR, {"inputs": [X, raw(Y, 24)]}, payload[:24])
    both = parse(PAIR, {"inputs": [raw(Y, 24), raw(X, 8)]}, payload)

    assert [array.tolist() for array in mixed.inputs] == [[[1.0, 2.0]], [[7, 8, 9]]]
    np.testing.assert_array_equal(both.inputs[0], np.array([[0.5, np.nan]], "<f4"))


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"inputs": [X]}, "input 'y' is missing; the model takes x, y"),
        ({"inputs": [X, Y, X]}, r"inputs\[2\]: input 'x' is given twice"),
        ({"inputs": [X, Y | {"shape": [2, 3], "data": [0] * 6}]}, "disagree on the number of rows: x has 1, y has 2"),
        ({"inputs": [X, Y | {"shape": [0, 3], "data": []}]}, r"inputs\[1\] \('y'\): shape \[0, 3\] has a size below 1"),
        ({"inputs": [X, Y | {"shape": [1, -3]}]}, r"\('y'\): shape \[1, -3\] does not match|has a size below 1"),
        ({"inputs": [X | {"shape": [1, 3]}, Y]}, r"shape \[1, 3\] does not match \[-1, 2\] .* input 'x'"),
        ({"inputs": [X | {"shape": [1] * 9999}, Y]}, r"\('x'\): shape has 9999 dimensions, the model takes \[-1, 2\]"),
        ({"inputs": [X | {"shape": [True, 2]}, Y]}, r"\('x'\): shape must be a list of whole numbers"),
        ({"inputs": [X | {"shape": [2**64, 2]}, Y]}, r"\('x'\): shape must be a list of whole numbers"),
        ({"inputs": [X | {"shape": [2**63, 2]}, Y]}, r"data holds 2 values, its shape .* needs 18446744073709551616"),
        ({"inputs": [X | {"data": [1, True]}, Y]}, r"\('x'\): data must hold numbers .* found true or false"),
        ({"inputs": [X, Y | {"data": [0, 1, False]}]}, r"\('y'\): data must hold whole numbers .* found true or false"),
        ({"inputs": [X | {"datatype": "FP64"}, Y]}, r"\('x'\): has datatype 'FP64', the model takes FP32"),
        ({"inputs": [X | {"parameters": 4}, Y]}, r"\('x'\): parameters must be an object, not a number"),
        ({"inputs": [X | {"name": ["x"]}, Y]}, "is named a list, which is no input of model 'm'; it takes x, y"),
        ({"inputs": [X | {"name": "n" * 500}]}, r"is named 'n{128}…'"),
        ({"inputs": [raw(X, 8), Y]}, "binary_data_size is given, but the header Inference-Header-Content-Length"),
        ({"inputs": [X | {"parameters": {"shared_memory_region": "r"}}, Y]}, "shared memory is not supported"),
        ({"id": 4, "inputs": [X, Y]}, "'id' must be a text, not a number"),
        ({"inputs": [X, Y], "parameters": []}, "'parameters' must be an object, not a list"),
        ({"inputs": [X, Y], "parameters": {"binary_data_output": 1}}, "binary_data_output' must be true or false"),
        ({"inputs": [X, Y], "outputs": "z"}, "'outputs' must be a list, not a text"),
        ({"inputs": [X, Y], "outputs": {}}, "'outputs' must be a list, not an object"),
        ({"inputs": [X, Y], "outputs": ["z"]}, r"'outputs\[0\]' must be an object, not a text"),
        ({"inputs": [X, Y], "outputs": [{"name": "z"}] * 2}, r"outputs\[1\]: output 'z' is asked for twice"),
        ({"inputs": [X, Y], "outputs": [{"name": "z", "parameters": {"binary_data": "yes"}}]}, "true or false"),
        ({"inputs": [X, Y], "outputs": [{"name": "z", "parameters": {"classification": 3}}]}, "classification ext"),
        ({"inputs": [X, Y], "outputs": [{"name": "z", "parameters": {"shared_memory_region": "r"}}]}, "shared memory"),
        ({"inputs": [X | {"data": [float("nan"), 1]}, Y]}, r"inputs\[0\] \('x'\): data holds NaN or infinity"),
        ({"inputs": [X, Y | {"data": [[0, float("-inf"), 1]]}]}, r"inputs\[1\] \('y'\): data holds NaN or infinity"),
        ({"inputs": [X | {"data": [1e39, 0]}, Y]}, r"inputs\[0\] \('x'\): data holds a value beyond the range of FP32"),
    ],
)
def test_what_is_wrong_is_named(document: object, told: str) -> None:
    with pytest.raises(InvalidRequestError, match=told):
        parse(PAIR, document)


@pytest.mark.parametrize(
    ("inputs", "payload", "told"),
    [
        ([raw(X, 8), Y], bytes(7), r"inputs\[0\] \('x'\): binary_data_size is 8, but only 7 bytes"),
        ([raw(X, 7), Y], bytes(7), r"\('x'\): binary_data_size is 7, but shape \[1, 2\] of FP32 needs 8 bytes"),
        ([raw(X, 8), Y], bytes(9), r"its JSON of \d+ .* and its tensors of 8"),
        ([X, Y], bytes(1), r"its tensors of 0"),
        ([raw(X, -8), Y], bytes(8), r"\('x'\): binary_data_size must be a whole number of 0 or more"),
        ([raw(X, "8"), Y], bytes(8), r"\('x'\): binary_data_size must be a whole number of 0 or more"),
        ([raw(X, 2**63), Y], bytes(8), r"binary_data_size is 9223372036854775808, but only 8 bytes"),
        ([X | {"parameters": {"binary_data_size": 8}}, Y], bytes(8), "data and binary_data_size are both given"),
        ([raw(X, None), Y], b"", r"inputs\[0\] \('x'\): data is missing"),
    ],
)
def test_binary_data_that_does_not_add_up_is_named(inputs: object, payload: bytes, told: str) -> None:
    with pytest.raises(InvalidRequestError, match=told):
        parse(PAIR, {"inputs": inputs}, payload)


def test_a_number_too_large_for_any_float_is_no_json() -> None:
    body = json.dumps({"inputs": [X, Y]}).encode().replace(b'"data": [1, 2]', b'"data": [1e999, 2]')

    with pytest.raises(InvalidRequestError, match="the body is not JSON: number is infinity"):
        PAIR.parse(body, {})


@pytest.mark.parametrize(
    ("document", "wanted"),
    [
        ({"outputs": [{"name": "z"}]}, [(1, False)]),
        ({"outputs": [{"name": "z"}, {"name": "h", "parameters": {"binary_data": True}}]}, [(1, False), (0, True)]),
        ({"parameters": {"binary_data_output": True}}, [(0, True), (1, True)]),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "h"}, {"name": "z", "parameters": {"binary_data": False}}],
            },
            [(0, True), (1, False)],
        ),
    ],
)
def test_an_outputs_own_parameter_beats_the_requests(document: dict[str, Any], wanted: list[tuple[int, bool]]) -> None:
    half = {"name": "x", "datatype": "FP16", "shape": [1, 2], "parameters": {"binary_data_size": 4}}

    assert list(parse(HALF, {"inputs": [half], **document}, bytes(4)).wanted) == wanted


@pytest.mark.parametrize("document", [{}, {"outputs": [{"name": "h"}]}, {"parameters": {"binary_data_output": False}}])
def test_a_16_bit_output_is_refused_in_json_before_it_is_computed(document: dict[str, Any]) -> None:
    half = {"name": "x", "datatype": "FP16", "shape": [1, 2], "parameters": {"binary_data_size": 4}}

    with pytest.raises(InvalidRequestError, match="output 'h' is FP16, which has no JSON form; ask for binary data"):
        parse(HALF, {"inputs": [half], **document}, bytes(4))


def test_the_answer_in_json() -> None:
    reply = PAIR.encode(parse(PAIR, {"id": "null", "inputs": [X, Y]}), [np.array([[0.1, -0.0]], np.float32)])

    assert reply.headers == ((b"content-type", b"application/json"),)
    assert json.loads(reply.body) == {
        "model_name": "m",
        "model_version": "3",
        "id": "null",
        "outputs": [{"name": "z", "datatype": "FP32", "shape": [1, 2], "data": [0.1, -0.0]}],
    }


def test_the_answer_in_json_and_binary_at_once() -> None:
    outputs: list[Array] = [np.array([[1, np.nan]], np.float16), np.array([[3, 4]], np.float32)]
    wanted = (Wanted(1, as_binary=False), Wanted(0, as_binary=True))

    reply = HALF.encode(InferCall(None, (), wanted), outputs)
    document, payload = parts(reply)

    assert dict(reply.headers)[b"content-type"] == b"application/octet-stream"
    assert document["outputs"] == [
        {"name": "z", "datatype": "FP32", "shape": [1, 2], "data": [3.0, 4.0]},
        {"name": "h", "datatype": "FP16", "shape": [1, 2], "parameters": {"binary_data_size": 4}},
    ]
    assert "id" not in document
    assert payload == outputs[0].tobytes()


def test_binary_outputs_follow_the_json_in_its_order() -> None:
    outputs: list[Array] = [np.array([[1, 2]], np.float16), np.array([[3, 4]], np.float32)]

    document, payload = parts(
        HALF.encode(InferCall(None, (), (Wanted(1, as_binary=True), Wanted(0, as_binary=True))), outputs)
    )

    assert [output["name"] for output in document["outputs"]] == ["z", "h"]
    assert payload == outputs[1].tobytes() + outputs[0].tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_json_name_the_output_and_pass_in_binary(value: float) -> None:
    outputs = [np.array([[1, value]], dtype=np.float32)]

    with pytest.raises(InferenceFailedError, match="output 'z' holds NaN or infinity"):
        PAIR.encode(InferCall("id", (), (Wanted(0, as_binary=False),)), outputs)
    reply = PAIR.encode(InferCall("id", (), (Wanted(0, as_binary=True),)), outputs)

    np.testing.assert_array_equal(np.frombuffer(parts(reply)[1], "<f4"), outputs[0][0])


def test_bytes_that_are_no_text_are_refused_in_json() -> None:
    codec = OpenInferenceCodec(model([spec("s", "BYTES")]))
    output = np.array([b"\xff"], dtype=np.object_)

    with pytest.raises(InferenceFailedError, match="output 's' holds bytes that are no UTF-8 text"):
        codec.encode(InferCall(None, (), (Wanted(0, as_binary=False),)), [output])


def test_outputs_from_any_memory_are_written_alike() -> None:
    values = np.arange(8, dtype="<f4").reshape(2, 4)
    unaligned = np.frombuffer(b"x" + values.tobytes(), "<f4", offset=1).reshape(2, 4)
    call = InferCall(None, (), (Wanted(0, as_binary=False),))

    assert PAIR.encode(call, [unaligned]) == PAIR.encode(call, [values])
    assert PAIR.encode(call, [values[:, 1:3]]) == PAIR.encode(call, [values[:, 1:3].copy()])


def test_no_bundle_declares_strings_because_no_program_takes_them() -> None:
    with pytest.raises(ValidationError, match="Input should be 'BOOL', 'INT8'"):
        TensorSpec.model_validate({"name": "text", "datatype": "BYTES", "shape": [-1]})


def test_metadata_tells_the_extension_and_the_tensors() -> None:
    served = model([spec("x", "FP32", 2)])

    assert server_metadata()["extensions"] == ("binary_tensor_data",)
    assert model_metadata(served)["inputs"] == [{"name": "x", "datatype": "FP32", "shape": (-1, 2)}]


def filled(datatype: str, shape: tuple[int, ...], noise: bytes) -> Array:
    """An array of any bits that the datatype can have."""
    count = int(np.prod(shape))
    if datatype == "BYTES":
        elements = [noise[: index % len(noise)] for index in range(count)]
        return np.fromiter(elements, dtype=np.object_, count=count).reshape(shape)
    dtype = DTYPES[datatype]
    bits = np.frombuffer((noise * (count * dtype.itemsize))[: count * dtype.itemsize], np.uint8)
    return (bits & 1 if datatype == "BOOL" else bits).view(dtype).reshape(shape)


def for_json(datatype: str, array: Array) -> Array:
    """The same without what JSON cannot carry."""
    if datatype == "BYTES":
        elements = [element.decode("latin-1").encode() for element in array.flat]
        return np.fromiter(elements, dtype=np.object_, count=array.size).reshape(array.shape)
    return np.where(np.isfinite(array), array, array.dtype.type(0)) if array.dtype.kind == "f" else array


def echoed(datatype: str, array: Array, *, as_binary: bool) -> Array:
    """The array out of a request that is made of the answer it went into."""
    codec = OpenInferenceCodec(model([spec("x", datatype, *array.shape[1:])]))
    document, payload = parts(codec.encode(InferCall(None, (), (Wanted(0, as_binary=as_binary),)), [array]))
    request = {"inputs": document["outputs"], "parameters": {"binary_data_output": True}}
    return parse(codec, request, payload if as_binary else None).inputs[0]


def assert_same_bits(back: Array, array: Array) -> None:
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    if array.dtype == np.object_:
        assert back.tolist() == array.tolist()
    else:
        assert back.tobytes() == array.tobytes()


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple), st.binary(min_size=1, max_size=96))
@settings(max_examples=60)
def test_tensors_come_back_bit_by_bit(shape: tuple[int, ...], noise: bytes) -> None:
    for datatype in (*DTYPES, "BYTES"):
        array = filled(datatype, shape, noise)
        assert_same_bits(echoed(datatype, array, as_binary=True), array)
    for datatype in JSON_TYPES:
        array = for_json(datatype, filled(datatype, shape, noise))
        assert_same_bits(echoed(datatype, array, as_binary=False), array)


MANY = OpenInferenceCodec(
    model([spec("f", "FP32", 2), spec("b", "BOOL"), spec("s", "BYTES", -1), spec("i", "INT64", -1)])
)
MANY_JSON: list[dict[str, Any]] = [
    {"name": "f", "datatype": "FP32", "shape": [2, 2], "data": [[1, 2.5], [-3e4, 0]]},
    {"name": "b", "datatype": "BOOL", "shape": [2], "data": [True, False]},
    {"name": "s", "datatype": "BYTES", "shape": [2, 1], "data": ["a", "ß"]},
    {"name": "i", "datatype": "INT64", "shape": [2, 2], "data": [1, -2, 3, 2**63 - 1]},
]
MANY_BYTES = np.ones(4, "<f4").tobytes() + b"\1\0" + b"\1\0\0\0a\0\0\0\0" + np.arange(4, dtype="<i8").tobytes()
MANY_RAW = [raw(tensor, size) for tensor, size in zip(MANY_JSON, (16, 2, 9, 32), strict=True)]
HEAD = json.dumps({"inputs": MANY_RAW, "outputs": [{"name": "i"}]}).encode()


def test_every_torn_body_is_refused() -> None:
    body = HEAD + MANY_BYTES
    headers = {LENGTH: str(len(HEAD)).encode()}
    assert MANY.parse(body, headers).rows == 2

    for end in range(len(body)):
        with pytest.raises(InvalidRequestError):
            MANY.parse(body[:end], headers)
    plain = json.dumps({"inputs": MANY_JSON}).encode()
    for end in range(len(plain)):
        with pytest.raises(InvalidRequestError):
            MANY.parse(plain[:end], {})


TOKENS = (
    b'null true NaN -Infinity 1e999 -1 0 18446744073709551616 " {} [] [[ ] } , \xff \0 "binary_data_size": "data":[1], '
    b"\\ud800 " + b"[" * 2000 + b" " + b'{"a":' * 300
).split(b" ")


def mutated(random_numbers: random.Random, body: bytes) -> bytes:
    """A few cuts, doublings, flipped bits and tokens put in where they do not belong."""
    for _ in range(random_numbers.randint(1, 4)):
        start = random_numbers.randrange(len(body) + 1)
        end = min(len(body), start + random_numbers.choice([0, 1, 1, 2, 8, 40]))
        kind = random_numbers.randrange(4)
        if kind == 0:
            body = body[:start] + body[end:]
        elif kind == 1:
            body = body[:end] + body[start:]
        elif kind == 2:
            body = body[:start] + random_numbers.choice(TOKENS) + body[end:]
        elif start < len(body):
            body = body[:start] + bytes([body[start] ^ (1 << random_numbers.randrange(8))]) + body[start + 1 :]
    return body


def test_no_body_makes_anything_but_a_call_or_a_refusal() -> None:
    random_numbers = random.Random(20261122)
    seeds = [HEAD + MANY_BYTES, json.dumps({"id": "x", "inputs": MANY_JSON}).encode()]
    lengths = [str(len(HEAD)).encode(), str(len(seeds[1])).encode(), b"0", b"1", b"-5", b"99999", b"9" * 30, None]
    refused = 0
    for count in range(12_000):
        seed = count % 2
        body = mutated(random_numbers, seeds[seed])
        length = random_numbers.choice(lengths) if random_numbers.random() < 0.2 else (lengths[0], None)[seed]
        try:
            call = MANY.parse(body, {} if length is None else {LENGTH: length})
        except InvalidRequestError:
            refused += 1
        else:
            assert all(len(array) == call.rows for array in call.inputs)
    assert 6_000 < refused < 12_000


ANY_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("aé\0"), st.lists, max_leaves=4
)


@given(ANY_VALUE, st.integers(0, 5))
@settings(max_examples=60)
def test_no_value_in_any_field_makes_anything_but_a_refusal_or_a_call(value: object, where: int) -> None:
    field = ("name", "datatype", "shape", "data", "parameters", "inputs")[where]
    document = {"inputs": [X | {field: value}, Y]} if where < 5 else {"inputs": value}
    try:
        call = parse(PAIR, document)
    except InvalidRequestError:
        return
    assert call.rows == 1
