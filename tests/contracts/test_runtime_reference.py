"""Every metric, setting, path and error of the runtime has its row in docs/reference, and the pages are fresh."""

from pathlib import Path

import pytest

import gen_runtime_reference
from neuron_runtime.metrics import MetricDoc, described_metrics
from neuron_runtime.routes import PATHS
from neuron_runtime.settings import ENV_PREFIX, ServeSettings

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"


def rows_of(page: str) -> list[str]:
    return [line for line in (REFERENCE / page).read_text().splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("metric", list(described_metrics()), ids=lambda metric: metric.name)
def test_every_metric_has_help_and_a_row(metric: MetricDoc) -> None:
    assert metric.help
    assert [row for row in rows_of("metrics.md") if row.startswith(f"| `{metric.name}` | {metric.kind} |")]


@pytest.mark.parametrize("name", list(ServeSettings.model_fields))
def test_every_setting_has_a_meaning_and_a_row(name: str) -> None:
    assert ServeSettings.model_fields[name].description
    assert [row for row in rows_of("runtime-settings.md") if f"`{ENV_PREFIX}{name.upper()}`" in row]


def test_every_path_has_a_row() -> None:
    rows = rows_of("http-api.md")

    missing = [path.template for path in PATHS if not any(f"| `{path.template}` |" in row for row in rows)]
    assert missing == []


def test_the_pages_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert gen_runtime_reference.main(["--check"]) == 0, capsys.readouterr().err
