"""The example models' programs against a reference that shares nothing but the weights: vectors, tokens, labels.

The casting compiler is the emulator's stand-in, so what holds here of bfloat16 holds of its rounding, not of silicon.
"""

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from transformers import AutoModel, AutoTokenizer

from neuron_runtime.artifacts import Bundle, load_bundle
from neuron_runtime.tokens import TextEncoder

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]
STAND_INS = ROOT / "hack" / "emulator" / "stand-ins"
TEXTS = (
    "A short sentence.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "NeuronCores, emulated: 東京 😀 naïve café — don't!",
    "word " * 120,
)


@pytest.fixture(scope="module")
def model_folder() -> Path:
    """Where examples/models finds the weights."""
    code = "import encoder; print(encoder.model_folder())"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT / "examples" / "models",
        capture_output=True,
        text=True,
        check=True,
    )
    return Path(ran.stdout.strip())


@pytest.fixture(scope="module", params=["cpu", "inf2"])
def bundles(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the script as `make bundle` does it, and kept where that keeps them: it takes a minute of two CPUs."""
    cache = Path(os.environ.get("NEURON_SERVING_CACHE") or Path.home() / ".cache" / "neuron-serving")
    out = cache / ("bundles" if request.param == "inf2" else "bundles-cpu")
    state = tmp_path_factory.mktemp(request.param)
    environment = {**os.environ, "NEURON_EMULATOR_STATE": str(state), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "ignore", str(ROOT / "examples/models/build.py"), "--target", request.param]
    built = subprocess.run([*command, "--out", str(out)], env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return out


@pytest.fixture(scope="module")
def run(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Loads a program of a bundle and runs texts through it, four rows at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(STAND_INS)
        patch.setenv("NEURON_EMULATOR_STATE", str(tmp_path_factory.mktemp("neuron")))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            __import__("torch_neuronx")
        yield _run


def _run(bundle: Bundle, texts: tuple[str, ...]) -> torch.Tensor:
    bucket = next(bucket for bucket in bundle.manifest.buckets if bucket.batch_size == len(texts))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\..*` is deprecated", category=DeprecationWarning)
        load: Any = torch.jit.load
        program = load(str(bundle.path(bucket.file)))
    arrays = TextEncoder.from_bundle(bundle).encode(texts).arrays
    with torch.inference_mode():
        outputs = program(*(torch.from_numpy(arrays[tensor.name]) for tensor in bundle.manifest.inputs))
    answer: torch.Tensor = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
    return answer.float().clone()


def reference_vectors(folder: Path, texts: tuple[str, ...]) -> torch.Tensor:
    """As its model card describes it, one text at a time and without padding."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    vectors = []
    with torch.inference_mode():
        for text in texts:
            encoded = tokenizer(text, return_tensors="pt", padding=False, truncation=False)
            vectors.append(functional.normalize(model(**encoded).last_hidden_state.mean(dim=1), dim=-1))
    return torch.cat(vectors)


def test_embeddings_agree_with_the_reference(run: Any, bundles: Path, model_folder: Path) -> None:
    bundle = load_bundle(bundles / "minilm")
    wanted = 0.999 if bundle.manifest.target == "cpu" else 0.99
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reference = reference_vectors(model_folder, TEXTS)
    cosines = functional.cosine_similarity(run(bundle, TEXTS), reference)
    assert cosines.min() >= wanted, cosines
    single = torch.cat([run(bundle, (text,)) for text in TEXTS])
    assert functional.cosine_similarity(single, reference).min() >= wanted
    assert torch.allclose(single.norm(dim=-1), torch.ones(len(TEXTS)), atol=0.01)


def test_sentiment_is_told_apart(run: Any, bundles: Path) -> None:
    bundle = load_bundle(bundles / "sentiment")
    assert bundle.manifest.classification is not None
    texts = (
        "The best purchase I made this year.",
        "It broke after two days and nobody answers my emails.",
        "The room was clean and the staff were friendly.",
        "It stopped working after two days and nobody answered my calls.",
    )
    labels = [bundle.manifest.classification.labels[index] for index in run(bundle, texts).argmax(dim=1)]
    assert labels == ["positive", "negative", "positive", "negative"]


def test_tokens_are_those_of_the_reference_tokenizer(bundles: Path, model_folder: Path) -> None:
    arrays = TextEncoder.from_bundle(load_bundle(bundles / "minilm")).encode(TEXTS).arrays
    expected = AutoTokenizer.from_pretrained(model_folder)(
        list(TEXTS), padding="max_length", max_length=128, truncation=False, return_tensors="np"
    )
    assert np.array_equal(arrays["input_ids"], expected["input_ids"])
    assert np.array_equal(arrays["attention_mask"], expected["attention_mask"])


def test_a_second_build_does_nothing(bundles: Path) -> None:
    target = load_bundle(bundles / "minilm").manifest.target
    command = [sys.executable, str(ROOT / "examples/models/build.py"), "--target", target, "--out", str(bundles)]
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "up to date" in again.stdout
