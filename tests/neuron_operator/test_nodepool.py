"""What a NodePool for a model requires and promises."""

from typing import Any

import pytest

from model_builders import model, placement_of
from neuron_operator.nodepool import node_pool


def pool_for(**selector: str) -> dict[str, Any]:
    found = model(placement={"nodeSelector": selector})
    return node_pool(placement_of(found), selector)


def required(pool: dict[str, Any]) -> dict[str, list[str]]:
    requirements = pool["spec"]["template"]["spec"]["requirements"]
    assert {requirement["operator"] for requirement in requirements} == {"In"}
    return {requirement["key"]: requirement["values"] for requirement in requirements}


ALWAYS = {
    "node.kubernetes.io/instance-type": ["inf2.xlarge", "inf2.8xlarge"],
    "kubernetes.io/arch": ["amd64"],
    "kubernetes.io/os": ["linux"],
}


def test_a_pool_offers_the_chosen_types_behind_the_taint_that_pods_tolerate() -> None:
    pool = pool_for()
    assert required(pool) == ALWAYS
    taint = {"key": "aws.amazon.com/neuron", "value": "true", "effect": "NoSchedule"}
    assert pool["spec"]["template"]["spec"]["taints"] == [taint]
    assert "metadata" not in pool["spec"]["template"]


@pytest.mark.parametrize(
    ("label", "value", "expected"),
    [
        pytest.param("karpenter.sh/capacity-type", "spot", "karpenter.sh/capacity-type", id="capacity-type"),
        pytest.param("topology.kubernetes.io/zone", "us-east-1a", "topology.kubernetes.io/zone", id="zone"),
        pytest.param(
            "failure-domain.beta.kubernetes.io/zone", "us-east-1a", "topology.kubernetes.io/zone", id="renamed"
        ),
        pytest.param(
            "karpenter.k8s.aws/instance-network-bandwidth",
            "2083",
            "karpenter.k8s.aws/instance-network-bandwidth",
            id="of-the-instance",
        ),
    ],
)
def test_what_karpenter_knows_becomes_a_requirement(label: str, value: str, expected: str) -> None:
    pool = pool_for(**{label: value})
    assert required(pool) == {**ALWAYS, expected: [value]}
    assert "metadata" not in pool["spec"]["template"]


def test_what_karpenter_does_not_know_is_promised_by_the_pool() -> None:
    pool = pool_for(team="search")
    assert required(pool) == ALWAYS
    assert pool["spec"]["template"]["metadata"] == {"labels": {"team": "search"}}


def test_a_pool_that_is_selected_by_name_gets_that_name() -> None:
    pool = pool_for(**{"karpenter.sh/nodepool": "inference"})
    assert pool["metadata"]["name"] == "inference"
    assert required(pool) == ALWAYS
    assert "metadata" not in pool["spec"]["template"]


def test_no_pool_promises_the_name_of_a_machine() -> None:
    pool = pool_for(**{"kubernetes.io/hostname": "n1"})
    assert required(pool) == ALWAYS
    assert "metadata" not in pool["spec"]["template"]
