"""Which instance types fit a model, in which order, and what is said when none does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_builders import model_spec, settings
from neuron_operator.api.conditions import Reason
from neuron_operator.catalog import OFFERED, find
from neuron_operator.placement import NEURON_TOLERATION, Placement, Rejection, choose_placement

SCHEDULER = "neuron-scheduler"


def place(cores: int, *types: str, scheduler: str = "", **placement: Any) -> Placement | Rejection:
    spec = model_spec(neuronCores=cores, placement={"instanceTypes": list(types), **placement})
    return choose_placement(spec, settings(scheduler_name=scheduler))


def placed(cores: int, *types: str, scheduler: str = "", **placement: Any) -> Placement:
    found = place(cores, *types, scheduler=scheduler, **placement)
    assert isinstance(found, Placement), found
    return found


def rejected(cores: int, *types: str, scheduler: str = "") -> Rejection:
    found = place(cores, *types, scheduler=scheduler)
    assert isinstance(found, Rejection), found
    return found


@pytest.mark.parametrize(
    ("cores", "scheduler", "expected"),
    [
        pytest.param(1, "", ["inf2.xlarge", "inf2.8xlarge", "inf2.24xlarge", "inf2.48xlarge"], id="one-core"),
        pytest.param(2, "", ["inf2.xlarge", "inf2.8xlarge"], id="all-cores-of-the-small"),
        pytest.param(12, "", ["inf2.24xlarge"], id="all-cores-of-the-24xlarge"),
        pytest.param(24, "", ["inf2.48xlarge"], id="all-cores-of-the-48xlarge"),
        pytest.param(
            2, SCHEDULER, ["inf2.xlarge", "inf2.8xlarge", "inf2.24xlarge", "inf2.48xlarge"], id="two-extended"
        ),
        pytest.param(5, SCHEDULER, ["inf2.24xlarge", "inf2.48xlarge"], id="five-on-a-ring"),
        pytest.param(7, SCHEDULER, ["inf2.24xlarge", "inf2.48xlarge"], id="seven-on-a-ring"),
        pytest.param(13, SCHEDULER, ["inf2.48xlarge"], id="more-than-12"),
    ],
)
def test_without_a_wish_every_inf2_type_that_fits_is_taken_cheapest_first(
    cores: int, scheduler: str, expected: list[str]
) -> None:
    assert list(placed(cores, scheduler=scheduler).instance_types) == expected


def test_named_types_keep_their_order() -> None:
    assert placed(1, "inf2.48xlarge", "trn1.2xlarge", "inf2.xlarge").instance_types == (
        "inf2.48xlarge",
        "trn1.2xlarge",
        "inf2.xlarge",
    )


def test_named_types_that_are_too_small_are_left_out_and_named() -> None:
    found = placed(12, "inf2.xlarge", "inf2.24xlarge")
    assert found.instance_types == ("inf2.24xlarge",)
    assert "inf2.xlarge can't give 12" in found.reason


def test_types_that_need_the_extension_are_left_out_and_named() -> None:
    assert "inf2.24xlarge and inf2.48xlarge would need the Neuron scheduler extension" in placed(2).reason


@pytest.mark.parametrize(
    ("cores", "types", "scheduler", "reason", "words"),
    [
        pytest.param(2, ["inf2.6xlarge"], "", Reason.NO_MATCHING_INSTANCE_TYPE,
            "did you mean inf2.8xlarge or inf2.24xlarge?", id="unknown-size"),
        pytest.param(2, ["inf2.xlarge", "m5.large"], "", Reason.NO_MATCHING_INSTANCE_TYPE,
            "m5.large is not an instance type with Neuron devices", id="one-of-two-unknown"),
        pytest.param(3, ["inf2.xlarge"], "", Reason.NO_MATCHING_INSTANCE_TYPE,
            "neuronCores is 3, but inf2.xlarge has 2. Ask for fewer cores or add inf2.24xlarge or inf2.48xlarge",
            id="too-small"),
        pytest.param(1, ["inf1.xlarge"], "", Reason.NO_MATCHING_INSTANCE_TYPE,
            "torch_neuron needs Python 3.10 or older", id="inf1"),
        pytest.param(6, ["trn1.32xlarge"], SCHEDULER, Reason.NO_MATCHING_INSTANCE_TYPE,
            "1, 2, 8, 16 or 32 cores only", id="count-no-torus-gives"),
        pytest.param(3, [], "", Reason.SCHEDULER_EXTENSION_REQUIRED,
            "or ask for 1, 12 or 24 cores", id="some-cores-without-extension"),
        pytest.param(2, ["inf2.24xlarge"], "", Reason.SCHEDULER_EXTENSION_REQUIRED,
            "spec.placement.schedulerName or in the chart's neuron.schedulerName", id="named-type-without-extension"),
    ],
)  # fmt: skip
def test_what_cannot_be_placed_is_rejected_with_the_next_step(
    cores: int, types: list[str], scheduler: str, reason: Reason, words: str
) -> None:
    found = rejected(cores, *types, scheduler=scheduler)
    assert found.reason is reason
    assert words in found.message


def test_the_scheduler_of_the_model_wins_over_the_operators() -> None:
    assert placed(2).scheduler_name is None
    assert placed(2, scheduler=SCHEDULER).scheduler_name == SCHEDULER
    assert placed(2, scheduler=SCHEDULER, schedulerName="mine").scheduler_name == "mine"


def test_the_neuron_taint_is_tolerated_before_the_users_own() -> None:
    own = {"key": "team", "operator": "Exists"}
    assert placed(1, tolerations=[own]).tolerations == (NEURON_TOLERATION, own)


def test_a_single_type_needs_no_preference() -> None:
    assert "preferredDuringSchedulingIgnoredDuringExecution" not in placed(24).node_affinity


known_types = st.lists(st.sampled_from([found.name for found in OFFERED]), max_size=7, unique=True)


@given(cores=st.integers(1, 24), types=known_types, scheduler=st.sampled_from(["", SCHEDULER]))
def test_a_placement_only_names_types_that_fit_and_a_rejection_always_says_why(
    cores: int, types: list[str], scheduler: str
) -> None:
    found = place(cores, *types, scheduler=scheduler)
    if isinstance(found, Rejection):
        assert str(cores) in found.message
        return
    assert set(found.instance_types) <= set(types or found.instance_types)
    for name in found.instance_types:
        instance = find(name)
        assert instance is not None
        assert instance.fits(cores)
        assert scheduler or cores in (1, instance.neuron_cores)
    required = found.node_affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [term["matchExpressions"][0]["values"] for term in required] == [list(found.instance_types)]
    weights = [
        preferred["weight"]
        for preferred in found.node_affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])
    ]
    assert weights == sorted(set(weights), reverse=True)
    assert all(1 <= weight <= 100 for weight in weights)
