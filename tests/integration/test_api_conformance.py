"""schemathesis against a real server of each task: nothing it makes of /openapi.json finds an answer not in there."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from runtime_builders import image_bundle, text_bundle
from runtime_server import ready

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
EXAMPLES_PER_OPERATION = 8
INFER = "/v2/models/{model}/infer"


def simulated(folder: Path) -> list[str]:
    return ["--engine", "simulated", "--simulated-service-ms", "1"]


def classifier(folder: Path) -> list[str]:
    return ["--engine", "cpu", "--bundle", str(text_bundle(folder))]


def embedder(folder: Path) -> list[str]:
    return ["--engine", "cpu", "--accept-token-ids", "--bundle", str(text_bundle(folder, "TextEmbedding"))]


def image_classifier(folder: Path) -> list[str]:
    return ["--engine", "cpu", "--bundle", str(image_bundle(folder))]


@pytest.mark.parametrize(
    ("flags", "paths"),
    [
        pytest.param(simulated, [], id="Tensor, every path"),
        pytest.param(classifier, ["/predict"], id="TextClassification"),
        pytest.param(embedder, ["/v1/embeddings", "/v1/models/{model}"], id="TextEmbedding"),
        pytest.param(image_classifier, ["/predict", INFER], id="ImageClassification"),
    ],
)
def test_schemathesis_finds_no_answer_that_is_not_documented(
    flags: Callable[[Path], list[str]], paths: Sequence[str], tmp_path: Path
) -> None:
    with ready(*flags(tmp_path / "bundle")) as server:
        found = schemathesis(f"{server.url}/openapi.json", paths, tmp_path)
        assert found.returncode == 0, found.stdout[-6000:] + found.stderr[-2000:]
        assert "Tested:" in found.stdout
        assert [line for line in server.lines if "request failed unexpectedly" in line] == []


def schemathesis(url: str, paths: Sequence[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    """The tool's own command. A deadline of its choosing would only be met with 504, so that one header is fixed."""
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", url]
    command += ["--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing", "--continue-on-failure"]
    command += ["--seed", "1", "--max-examples", str(EXAMPLES_PER_OPERATION), "--generation-database", "none"]
    command += ["--header", "X-Request-Timeout-Seconds: 30", "--no-color", "--no-shrink"]
    for path in paths:
        command += ["--include-path", path]
    environment = os.environ | {"NO_PROXY": "*"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
