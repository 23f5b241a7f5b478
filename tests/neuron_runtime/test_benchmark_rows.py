"""AWS's published rows as simulated devices."""

import pytest

from neuron_runtime.benchmark_rows import device_rows, find_row
from neuron_runtime.termination import FatalError


@pytest.mark.parametrize(
    ("name", "cores", "in_flight", "batch_size", "service_ms"),
    [
        pytest.param("resnet18", 2, 2, 8, 2.304, id="a batched CNN keeps two calls in flight on each core"),
        pytest.param("bert-base-uncased:batch", 2, 1, 8, 5.805, id="an encoder keeps one"),
        pytest.param("resnet18:real-time", 1, 1, 1, 0.611, id="a real-time CNN used one core"),
    ],
)
def test_rows(name: str, cores: int, in_flight: int, batch_size: int, service_ms: float) -> None:
    row = find_row(name)

    assert (row.cores, row.in_flight, row.batch_size) == (cores, in_flight, batch_size)
    assert row.service_seconds * 1000 == pytest.approx(service_ms, abs=0.001)


def test_the_row_with_a_copied_throughput_is_left_out() -> None:
    assert "bert-base-cased:batch" in device_rows()
    assert "bert-base-cased:real-time" not in device_rows()


def test_an_unknown_row_lists_the_known() -> None:
    with pytest.raises(FatalError, match="no benchmark row 'gpt'") as refused:
        find_row("gpt")

    assert "resnet18:batch" in refused.value.hint
