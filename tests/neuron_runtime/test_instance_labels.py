"""Where each label of the instance comes from, and who wins."""

import pytest

from neuron_runtime.instance_labels import INSTANCE_LABELS, LONGEST_VALUE, VARIABLES, instance_labels

METADATA = {
    "instance_name": "n",
    "instance_id": "i-1",
    "instance_type": "inf2.xlarge",
    "instance_availability_zone": "us-west-2b",
    "instance_region": "us-west-2",
    "subnet_id": "subnet-1",
}
EVERYTHING = {name: name.lower() for names in VARIABLES.values() for name in names}


def labels(info: dict[str, object], **environment: str) -> dict[str, str]:
    found = dict(zip(INSTANCE_LABELS, instance_labels(info, environment), strict=True))
    return {label: value for label, value in found.items() if value}


def test_metadata_wins_over_everything() -> None:
    assert instance_labels(METADATA, EVERYTHING) == tuple(METADATA.values())


@pytest.mark.parametrize("info", [{}, dict.fromkeys(METADATA, ""), dict.fromkeys(METADATA), dict.fromkeys(METADATA, 7)])
def test_each_label_falls_back_to_its_variable(info: dict[str, object]) -> None:
    assert instance_labels(info, EVERYTHING) == tuple(names[0].lower() for names in VARIABLES.values())


def test_what_nobody_knows_is_empty() -> None:
    assert labels({}) == {}


@pytest.mark.parametrize(
    ("node", "found"),
    [
        ("ip-10-0-1-2.eu-west-1.compute.internal", {"region": "eu-west-1"}),
        ("ip-10-0-1-2.ec2.internal", {"region": "us-east-1"}),
        ("ip-10-0-1-2.us-gov-west-1.compute.internal", {"region": "us-gov-west-1"}),
        (
            "i-0123456789abcdef0.ap-southeast-2.compute.internal",
            {"region": "ap-southeast-2", "instance_id": "i-0123456789abcdef0"},
        ),
        ("i-0123456789abcdef0.ec2.internal", {"region": "us-east-1", "instance_id": "i-0123456789abcdef0"}),
        ("node-a", {}),
        ("ip-10-0-1-2.eu-west-1.compute.internal.example.com", {}),
    ],
)
def test_a_nodes_name_holds_the_region_and_sometimes_the_instances_id(node: str, found: dict[str, str]) -> None:
    assert labels({}, NODE_NAME=node) == {"instance_name": node} | found


def test_the_node_is_where_it_is_whatever_region_the_pods_clients_use() -> None:
    assert labels({}, NODE_NAME="ip-1.ec2.internal", AWS_REGION="eu-central-1")["region"] == "us-east-1"


def test_the_zone_says_the_region() -> None:
    assert labels({}, AVAILABILITY_ZONE="eu-west-1c")["region"] == "eu-west-1"


def test_values_are_bounded() -> None:
    assert len(labels({"instance_id": "i" * 10_000})["instance_id"]) == LONGEST_VALUE
