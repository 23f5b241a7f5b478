"""One version everywhere: the wheel, both packages, the chart and the newest heading of the changelog."""

import re
import tomllib
from pathlib import Path

import yaml

import neuron_operator
import neuron_runtime

ROOT = Path(__file__).parents[2]


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((ROOT / "charts/neuron-serving/Chart.yaml").read_text())
    newest = re.search(r"^## \[?([0-9][^\]\s]*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    found = {neuron_operator.__version__, neuron_runtime.__version__, chart["version"], chart["appVersion"], newest[1]}
    assert found == {version}
