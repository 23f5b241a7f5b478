"""What torch_neuronx.trace and its programs promise (AWS: "PyTorch NeuronX Tracing API for Inference").

Only documented behavior: these tests pass on an Inf2 instance with the real package as they do on the stand-in.
"""

from pathlib import Path

import pytest
import torch

import torch_neuronx

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]  # silicon has to compile


class Doubler(torch.nn.Module):
    """Two inputs and no weights: every answer can be checked by eye."""

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return left * 2, left + right


class Named(torch.nn.Module):
    def forward(self, values: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": values.sum(dim=1), "double": values * 2}


def small_model() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 4)).eval()


def test_trace_gives_a_script_module_that_answers_like_the_model() -> None:
    model, example = small_model(), torch.rand(2, 16)

    traced = torch_neuronx.trace(model, example)

    assert isinstance(traced, torch.jit.ScriptModule)
    torch.testing.assert_close(traced(example), model(example), rtol=1e-2, atol=1e-2)


def test_a_saved_program_answers_the_same_after_loading(tmp_path: Path) -> None:
    model, example = small_model(), torch.rand(2, 16)
    path = str(tmp_path / "model.pt")
    torch_neuronx.trace(model, (example,)).save(path)

    loaded = torch.jit.load(path)

    torch.testing.assert_close(loaded(example), model(example), rtol=1e-2, atol=1e-2)


def test_weights_are_frozen_into_the_program_when_it_is_traced() -> None:
    model, example = small_model(), torch.rand(2, 16)
    traced = torch_neuronx.trace(model, example)
    before = traced(example)

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()

    torch.testing.assert_close(traced(example), before)


def test_several_inputs_and_a_tuple_of_outputs() -> None:
    traced = torch_neuronx.trace(Doubler(), (torch.ones(2, 3), torch.ones(2, 3)))

    double, total = traced(torch.full((2, 3), 2.0), torch.full((2, 3), 5.0))

    assert double.tolist() == [[4.0] * 3] * 2
    assert total.tolist() == [[7.0] * 3] * 2


def test_a_dictionary_of_outputs_keeps_its_keys() -> None:
    answer = torch_neuronx.trace(Named(), torch.ones(2, 3))(torch.ones(2, 3))

    assert answer["sum"].tolist() == [3.0, 3.0]
    assert answer["double"].tolist() == [[2.0] * 3] * 2


def test_a_plain_function_can_be_traced() -> None:
    traced = torch_neuronx.trace(lambda x: x * 3, torch.ones(1, 2))

    assert traced(torch.ones(1, 2)).tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(torch.ones(3, 16), id="larger-batch"),
        pytest.param(torch.ones(1, 16), id="smaller-batch"),
        pytest.param(torch.ones(2, 17), id="other-width"),
        pytest.param(torch.ones(2, 16, 1), id="other-rank"),
        pytest.param(torch.ones(2, 16, dtype=torch.int64), id="other-dtype"),
    ],
)
def test_shapes_and_dtypes_are_fixed_when_traced(other: torch.Tensor) -> None:
    traced = torch_neuronx.trace(small_model(), torch.rand(2, 16))

    with pytest.raises((RuntimeError, ValueError)):
        traced(other)


@pytest.mark.parametrize(
    "compiler_args",
    [
        pytest.param(["--auto-cast", "all", "--auto-cast-type", "bf16"], id="list"),
        pytest.param("--auto-cast=all --auto-cast-type=bf16", id="string-with-equals"),
    ],
)
def test_auto_cast_rounds_to_bf16_and_answers_in_the_models_dtype(compiler_args: list[str] | str) -> None:
    # 1 + 1/512 is a float32 that bf16 (8 bits of mantissa) rounds to 1.
    model = torch.nn.Linear(1, 1, bias=False).eval()
    with torch.no_grad():
        model.weight.fill_(1 + 1 / 512)

    answer = torch_neuronx.trace(model, torch.ones(1, 1), compiler_args=compiler_args)(torch.ones(1, 1))

    assert answer.dtype == torch.float32
    assert answer.item() == 1.0


def test_auto_cast_none_keeps_float32() -> None:
    model = torch.nn.Linear(1, 1, bias=False).eval()
    with torch.no_grad():
        model.weight.fill_(1 + 1 / 512)

    traced = torch_neuronx.trace(model, torch.ones(1, 1), compiler_args=["--auto-cast", "none"])

    assert traced(torch.ones(1, 1)).item() == pytest.approx(1 + 1 / 512, abs=1e-6)


def test_dynamic_batch_takes_any_number_of_rows() -> None:
    model = small_model()
    traced = torch_neuronx.dynamic_batch(torch_neuronx.trace(model, torch.rand(2, 16)))
    rows = torch.rand(5, 16)

    torch.testing.assert_close(traced(rows), model(rows), rtol=1e-2, atol=1e-2)


def test_data_parallel_splits_a_batch_over_the_visible_cores() -> None:
    model = small_model()
    parallel = torch_neuronx.DataParallel(torch_neuronx.trace(model, torch.rand(2, 16)))
    rows = torch.rand(8, 16)

    torch.testing.assert_close(parallel(rows), model(rows), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("switch", ["lazy_load", "async_load"])
def test_lazy_and_async_loading_survive_saving(switch: str, tmp_path: Path) -> None:
    model, example = small_model(), torch.rand(2, 16)
    traced = torch_neuronx.trace(model, example)
    getattr(torch_neuronx, switch)(traced, **{f"enable_{switch}": True})
    torch.jit.save(traced, str(tmp_path / "model.pt"))

    loaded = torch.jit.load(str(tmp_path / "model.pt"))

    torch.testing.assert_close(loaded(example), model(example), rtol=1e-2, atol=1e-2)


def test_a_model_can_be_placed_on_a_core_after_loading() -> None:
    model, example = small_model(), torch.rand(2, 16)
    traced = torch_neuronx.trace(model, example)

    torch_neuronx.set_neuron_cores(traced, start_nc=1, nc_count=1)

    torch.testing.assert_close(traced(example), model(example), rtol=1e-2, atol=1e-2)
