"""The README's promise: one object applied, a real transformer answers real text from emulated NeuronCores."""

from pathlib import Path

import httpx
import pytest
import yaml

from demo import installation, store
from e2e.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def sentiment(world: World) -> str:
    """examples/01 applied in the story's namespace, ready."""
    store.upload(world.kube, installation.build_bundles())
    body = yaml.safe_load((EXAMPLES / "01-sentiment.yaml").read_text())
    body["metadata"]["namespace"] = world.namespace
    world.kube.apply(body)
    world.wait_until_ready("sentiment")
    return "sentiment"


def test_example_serves_text_metrics_and_a_truthful_status(world: World, sentiment: str) -> None:
    with world.forward(sentiment) as url, httpx.Client(base_url=url, timeout=60) as client:
        good = client.post("/predict", json={"text": "We laughed all evening and the food was superb."}).json()
        bad = client.post("/predict", json={"text": "The update made everything slower and lost my files."}).json()
        metrics = client.get("/metrics").text
    assert (good["label"], bad["label"]) == ("positive", "negative")
    assert 0.5 < good["confidence"] <= 1
    assert "neuroncore_utilization_ratio{" in metrics
    status = world.model(sentiment)["status"]
    assert status["readyReplicas"] == 2
    assert status["url"] == f"http://sentiment.{world.namespace}.svc"
    assert {condition["type"]: condition["status"] for condition in status["conditions"]} == {
        "Ready": "True",
        "Reconciling": "False",
        "Stalled": "False",
    }
    containers = [container for pod in world.pods(sentiment) for container in pod["spec"]["containers"]]
    assert [container["resources"]["limits"]["aws.amazon.com/neuroncore"] for container in containers] == ["1", "1"]


def test_the_users_own_application_answers_through_the_runtime_beside_it(world: World) -> None:
    store.upload(world.kube, installation.build_bundles())
    config_map, model = yaml.safe_load_all((EXAMPLES / "02-sidecar.yaml").read_text())
    # No image can be pulled here; the runtime's own is one with Python 3.
    model["spec"]["pod"]["containers"][0]["image"] = installation.RUNTIME_IMAGE
    for body in (config_map, model):
        body["metadata"]["namespace"] = world.namespace
        world.kube.apply(body)
    world.wait_until_ready("reviews")
    with world.forward("reviews") as url:
        page = httpx.get(url, params={"text": "A lovely little place, we will be back."}, timeout=60)
    assert "positive (" in page.text
