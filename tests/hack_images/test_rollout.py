"""Which pods a reload replaces."""

import json
from typing import Any

import pytest

from images.rollout import StalePod, stale_pods

IMAGE, NEW, OLD = "docker.io/neuron-serving/runtime:dev", "b" * 64, "a" * 64


def pod(*, image: str = IMAGE, running: str = f"sha256:{OLD}", ready: str = "True") -> dict[str, Any]:
    containers = [{"name": "web", "image": "example.com/web:1"}, {"name": "runtime", "image": image}]
    return {
        "metadata": {"namespace": "team", "name": "sentiment-1", "labels": {"neuron-serving.dev/model": "sentiment"}},
        "spec": {"containers": containers},
        "status": {
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [
                {"name": "web", "imageID": "sha256:cc"},
                *([{"name": "runtime", "imageID": running}] if running else []),
            ],
        },
    }


def found(one: dict[str, Any]) -> list[StalePod]:
    return stale_pods(json.dumps({"items": [one]}), IMAGE, NEW)


@pytest.mark.parametrize(
    ("one", "is_stale"),
    [
        pytest.param(pod(), True, id="an older build"),
        pytest.param(pod(running=f"sha256:{NEW}"), False, id="this build"),
        pytest.param(pod(image="docker.io/neuron-serving/runtime:0.1.0"), False, id="an image of the user's choice"),
        pytest.param(pod(running=""), True, id="not started yet"),
    ],
)
def test_a_pod_is_stale_when_it_runs_another_build_of_the_image(one: dict[str, Any], is_stale: bool) -> None:
    assert bool(found(one)) is is_stale


@pytest.mark.parametrize(("ready", "expected"), [("True", True), ("False", False)])
def test_a_stale_pod_says_whether_it_served(ready: str, expected: bool) -> None:
    assert [one.is_ready for one in found(pod(ready=ready))] == [expected]
