"""The Open Inference Protocol as clients nobody here wrote speak it: NVIDIA's tritonclient and MLServer's types."""

import contextlib
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

from images.catalog import cache_dir
from neuron_runtime.tensors import DTYPES, WITHOUT_JSON_FORM
from oip_bundles import datatypes_bundle
from runtime_server import RunningServer, ready

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MODEL = "every"
HALVES = sorted(WITHOUT_JSON_FORM)
IN_JSON = [datatype for datatype in DTYPES if datatype not in WITHOUT_JSON_FORM]
BACKWARD = list(DTYPES)[::-1]
"""Of the datatypes: another order than the model's."""
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A model with a tensor of every datatype; fractions come back doubled."""
    bundle = datatypes_bundle(tmp_path_factory.mktemp("every"), MODEL, list(DTYPES))
    with ready("--engine", "cpu", "--bundle", str(bundle)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as made:
        yield made


def rows(datatype: str, count: int = 2) -> NDArray[Any]:
    """Numbers that every datatype holds exactly, doubled too, each row another."""
    values = np.arange(3 * count).reshape(count, 3) % 60
    return values.astype(triton_to_np_dtype(datatype))


def expected(datatype: str, given: NDArray[Any]) -> NDArray[Any]:
    return given + given if datatype.startswith(("FP", "BF")) else given


def tensor(datatype: str, values: NDArray[Any], *, as_binary: bool = True) -> triton.InferInput:
    made = triton.InferInput(f"in_{datatype.lower()}", list(values.shape), datatype)
    return made.set_data_from_numpy(values, binary_data=as_binary)


def all_inputs(count: int = 2, *, as_binary: bool = True) -> list[triton.InferInput]:
    """Every input; those without a JSON form are binary in any case."""
    return [tensor(one, rows(one, count), as_binary=as_binary or one in HALVES) for one in DTYPES]


def wanted(datatype: str, *, as_binary: bool) -> triton.InferRequestedOutput:
    return triton.InferRequestedOutput(f"out_{datatype.lower()}", binary_data=as_binary)


def assert_answers(result: triton.InferResult, datatype: str, given: NDArray[Any]) -> None:
    output = result.as_numpy(f"out_{datatype.lower()}")
    np.testing.assert_array_equal(output, expected(datatype, given))
    assert output.dtype == given.dtype


def test_triton_sees_a_live_ready_server_and_its_model(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready(MODEL, "2")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata(MODEL)
    assert metadata["versions"] == ["1"]
    assert [entry["datatype"] for entry in metadata["inputs"]] == list(DTYPES)
    assert metadata["outputs"][0] == {"name": "out_bool", "datatype": "BOOL", "shape": [-1, 3]}


@pytest.mark.parametrize("count", [1, 9], ids=["one row", "more rows than a batch holds"])
def test_every_datatype_goes_and_comes_back_in_binary(client: triton.InferenceServerClient, count: int) -> None:
    result = client.infer(MODEL, all_inputs(count), request_id="call-7", model_version="1")

    assert result.get_response()["id"] == "call-7"
    for datatype in DTYPES:
        assert_answers(result, datatype, rows(datatype, count))


def test_json_and_binary_are_mixed_both_ways(client: triton.InferenceServerClient) -> None:
    """Everything in JSON but the 16-bit floats, asked for in another order than the model's."""
    outputs = [wanted(datatype, as_binary=datatype in HALVES) for datatype in BACKWARD]

    result = client.infer(MODEL, all_inputs(as_binary=False), outputs=outputs)

    names = [output["name"] for output in result.get_response()["outputs"]]
    assert names == [f"out_{datatype.lower()}" for datatype in BACKWARD]
    for datatype in DTYPES:
        is_binary = "parameters" in result.get_output(f"out_{datatype.lower()}")
        assert is_binary == (datatype in HALVES)
        assert_answers(result, datatype, rows(datatype))


def test_an_answer_in_json_alone_has_no_binary_part(client: triton.InferenceServerClient) -> None:
    result = client.infer(MODEL, all_inputs(), outputs=[wanted(datatype, as_binary=False) for datatype in IN_JSON])

    for datatype in IN_JSON:
        assert_answers(result, datatype, rows(datatype))
    assert result.get_output("out_fp16") is None


def changed(**changes: triton.InferInput | None) -> list[triton.InferInput]:
    """Every input, with one replaced or left out."""
    given = {made.name(): made for made in all_inputs(as_binary=False)} | changes
    return [made for made in given.values() if made is not None]


NAN = np.array([[1, np.nan, 2]] * 2)


@pytest.mark.parametrize(
    ("inputs", "outputs", "status", "told"),
    [
        (changed(in_bool=None), None, "400", "input 'in_bool' is missing"),
        (changed(in_int8=tensor("INT8", rows("INT8", 3))), None, "400", "in_int8 has 3"),
        (changed(in_int8=tensor("INT8", np.zeros((2, 4), np.int8))), None, "400", "shape [2, 4] does not match"),
        (
            changed(in_fp32=tensor("FP32", NAN.astype("f4"), as_binary=False)),
            None,
            "400",
            "('in_fp32'): data holds NaN",
        ),
        (all_inputs(), [wanted("BF16", as_binary=False)], "400", "output 'out_bf16' is BF16, which has no JSON form"),
        (all_inputs(), [triton.InferRequestedOutput("out_fp8")], "400", "is named 'out_fp8', which is no output"),
        (all_inputs(), [triton.InferRequestedOutput("out_fp32", class_count=2)], "400", "classification extension"),
        (
            changed(in_fp32=tensor("FP32", np.full((2, 3), 3e38, "f4"))),
            [wanted("FP32", as_binary=False)],
            "500",
            "output 'out_fp32' holds NaN or infinity",
        ),
    ],
)
def test_triton_is_told_what_is_wrong(
    client: triton.InferenceServerClient, inputs: Any, outputs: Any, status: str, told: str
) -> None:
    with pytest.raises(InferenceServerException) as refused:
        client.infer(MODEL, inputs, outputs=outputs)

    assert (refused.value.status(), told in refused.value.message()) == (status, True), refused.value.message()


def test_unknown_models_and_versions_are_404(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match=r"\[404\] there is no model 'other' here"):
        client.infer("other", all_inputs())
    with pytest.raises(InferenceServerException, match=r"\[404\] model 'every' has no version '2' here"):
        client.infer(MODEL, all_inputs(), model_version="2")


def test_binary_carries_nan_and_infinity(client: triton.InferenceServerClient) -> None:
    values = np.array([[np.nan, np.inf, -np.inf], [3e38, 0, 1]], np.float32)

    result = client.infer(MODEL, changed(in_fp32=tensor("FP32", values)))

    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(result.as_numpy("out_fp32"), values + values)


def test_a_binary_answer_says_how_to_read_it(server: RunningServer) -> None:
    body, length = triton.InferenceServerClient.generate_request_body(all_inputs(1))
    headers = {"Inference-Header-Content-Length": str(length)}
    with server.client() as plain:
        whole = plain.post(f"/v2/models/{MODEL}/infer", content=body, headers=headers)
        torn = plain.post(f"/v2/models/{MODEL}/infer", content=body[:-1], headers=headers)

    assert whole.headers["content-type"] == "application/octet-stream"
    head = int(whole.headers["inference-header-content-length"])
    sizes = [output["parameters"]["binary_data_size"] for output in json.loads(whole.content[:head])["outputs"]]
    assert len(whole.content) == head + sum(sizes)
    again = triton.InferenceServerClient.parse_response_body(whole.content, header_length=head)
    assert_answers(again, "INT64", rows("INT64", 1))
    assert torn.status_code == 400
    assert torn.json()["error"].endswith(
        "('in_fp64'): binary_data_size is 24, but only 23 bytes of the body are left for it"
    )


@pytest.fixture(scope="session")
def mlserver() -> Path:
    """MLServer's files without what it depends on, in the cache; pinned for the benchmark, which runs all of it."""
    pinned = (REPOSITORY / "requirements" / "peers.txt").read_text()
    entry = re.search(r"^mlserver==.*?(?=^\S)", pinned, re.MULTILINE | re.DOTALL)
    assert entry is not None, "requirements/peers.txt pins no mlserver"
    folder = cache_dir() / "mlserver-types" / hashlib.sha256(entry[0].encode()).hexdigest()[:16]
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as unfinished:
            requirements = Path(unfinished) / "requirements.txt"
            requirements.write_text(entry[0])
            options = ["--no-deps", "--require-hashes", "--requirement", str(requirements)]
            uv = Path(sys.executable).with_name("uv")
            target = Path(unfinished) / "files"
            subprocess.run([uv, "pip", "install", "--quiet", "--target", target, *options], check=True)
            with contextlib.suppress(OSError):  # another session was first
                target.rename(folder)
    return folder


def test_mlservers_types_take_what_is_sent_and_make_what_is_taken(
    mlserver: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bundle = datatypes_bundle(tmp_path_factory.mktemp("plain"), "plain", IN_JSON)
    program = Path(__file__).with_name("mlserver_exchange.py")
    with ready("--engine", "cpu", "--bundle", str(bundle)) as running:
        arguments = [sys.executable, str(program), str(mlserver), running.url, "plain"]
        ran = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=False)

    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert (seen["status"], seen["id"], seen["extensions"]) == (200, "from-mlserver", ["binary_tensor_data"])
    assert list(seen["outputs"]) == [f"out_{datatype.lower()}" for datatype in reversed(IN_JSON)]
    assert seen["outputs"]["out_int64"] == [1, 2, 3] * 2
    assert seen["outputs"]["out_fp64"] == [2.0, 4.0, 6.0] * 2
    assert seen["outputs"]["out_bool"] == [True, False, True] * 2
    assert seen["refused"] == [400, "'inputs' must be a list of at least one tensor"]
