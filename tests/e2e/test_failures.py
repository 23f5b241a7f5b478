"""Every mistake a user makes ends in a sentence on the object that says what, where and what next."""

import pytest

from demo.kube import CommandError
from e2e.world import World, stored

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param({"neuronCores": 0}, "neuronCores", id="no-cores"),
        pytest.param({"neuronCores": 25}, "neuronCores", id="more-cores-than-any-instance"),
        pytest.param({"replicas": -1}, "replicas", id="negative-replicas"),
        pytest.param({"neuronCors": 2}, "neuronCors", id="unknown-field"),
        pytest.param({"neuronCores": "two"}, "neuronCores", id="wrong-type"),
        pytest.param({"artifact": {"uri": "ftp://models/x"}}, "s3://", id="unknown-scheme"),
    ],
)
def test_a_wrong_spec_is_refused_by_the_api_server(world: World, spec: dict[str, object], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        world.apply_model("wrong", **spec)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param({"placement": {"instanceTypes": ["inf2.6xlarge"]}}, "inf2.8xlarge", id="unknown-instance-type"),
        pytest.param({"neuronCores": 3, "placement": {"instanceTypes": ["inf2.xlarge"]}}, "3", id="too-small-instance"),
    ],
)
def test_an_impossible_placement_stalls_with_a_suggestion(world: World, spec: dict[str, object], words: str) -> None:
    world.apply_model("impossible", **spec)
    world.wait("neuronmodel/impossible", "condition=Stalled")
    assert words in world.condition("impossible", "Stalled")["message"]
    assert not world.is_there("deployment/impossible")


def test_a_wrong_checksum_is_never_served(world: World) -> None:
    world.apply_model("corrupt", artifact=stored("corrupt"))
    message = world.wait_for_reason("corrupt", "ArtifactCorrupt")
    assert "sha256" in message
