"""What the operator tells the runtime by environment is what the runtime reads, up to the CRD's extremes."""

from typing import Any

import pytest

from crd_cases import EVERYTHING
from model_builders import model, placement_of, settings
from neuron_operator.render import pod_template
from neuron_runtime.settings import ENV_PREFIX, ServeSettings

EXTREMES: list[dict[str, Any]] = [
    EVERYTHING,
    {"neuronCores": 1, "serving": {"requestTimeoutSeconds": 1, "maxBatchSize": 1, "queueCapacityRows": 1}},
    {"neuronCores": 24, "serving": {"requestTimeoutSeconds": 3600, "maxBatchSize": 4096, "queueCapacityRows": 1000000}},
    {"serving": {"maxBodyBytes": 1024}},
    {"serving": {"maxBodyBytes": 1073741824}},
]


def runtime_environment(spec: dict[str, Any]) -> dict[str, str]:
    found = model("m" * 52, **spec)
    template = pod_template(found, placement_of(found), settings())
    runtime = next(container for container in template["spec"]["containers"] if container["name"] == "runtime")
    return {variable["name"]: variable["value"] for variable in runtime["env"] if "value" in variable}


@pytest.mark.parametrize("spec", EXTREMES)
def test_the_runtime_takes_every_value_the_crd_allows(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    environment = runtime_environment(spec)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    loaded = ServeSettings.load([])
    ours = {name.removeprefix(ENV_PREFIX).lower(): value for name, value in environment.items() if ENV_PREFIX in name}
    assert ours.keys() <= ServeSettings.model_fields.keys()
    assert {name: str(getattr(loaded, name)).removesuffix(".0") for name in ours} == ours
