"""How long an emulated execution takes at least."""

import json
from pathlib import Path

import pytest

from emulated_node.node import Node
from emulated_node.speed import Speed, service_seconds


def test_service_time_of_a_published_row() -> None:
    # bert-base-uncased, inf2.xlarge, batch 8: 2,674 inferences a second on 2 cores, p50 5.97 ms with 2 in flight.
    assert service_seconds(2674, batch_size=8, cores=2) == pytest.approx(5.98e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("table", "batch", "expected"),
    [
        pytest.param({}, 8, 0.0, id="no-table-no-wait"),
        pytest.param(2.5, 8, 0.0025, id="one-time-for-all"),
        pytest.param({"1": 1.0, "8": 6.0}, 8, 0.006, id="exact"),
        pytest.param({"1": 1.0, "8": 6.0}, 4, 0.006, id="next-larger"),
        pytest.param({"1": 1.0, "8": 6.0}, 16, 0.006, id="beyond-the-largest"),
    ],
)
def test_least_seconds(tmp_path: Path, table: object, batch: int, expected: float) -> None:
    speed = Speed(Node(tmp_path, {}), {"NEURON_EMULATOR_SERVICE_MS": json.dumps(table)})

    assert speed.least_seconds(batch) == pytest.approx(expected)


def test_the_nodes_table_serves_every_process(tmp_path: Path) -> None:
    node = Node(tmp_path, {})
    (tmp_path / "speed.json").write_text('{"4": 3}')

    assert Speed(node, {}).least_seconds(4) == pytest.approx(0.003)
