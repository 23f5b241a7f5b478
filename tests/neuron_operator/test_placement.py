"""Which instance types fit a model, in which order, and what is said when none does."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from model_builders import model_spec, settings
from neuron_operator.api.conditions import Reason
from neuron_operator.catalog import OFFERED, InstanceType, labels_of
from neuron_operator.placement import NEURON_TOLERATION, Placement, Rejection, choose_placement, weights

SCHEDULER = "neuron-scheduler"


def place(cores: int, *types: str, scheduler: str = "", **placement: Any) -> Placement | Rejection:
    spec = model_spec(neuronCores=cores, placement={"instanceTypes": list(types), **placement})
    return choose_placement(spec, settings(scheduler_name=scheduler))


def placed(cores: int, *types: str, scheduler: str = "", **placement: Any) -> Placement:
    found = place(cores, *types, scheduler=scheduler, **placement)
    assert isinstance(found, Placement), found
    return found


def rejected(cores: int, *types: str, scheduler: str = "", **placement: Any) -> Rejection:
    found = place(cores, *types, scheduler=scheduler, **placement)
    assert isinstance(found, Rejection), found
    return found


def asking(cpu: str = "1", memory: str = "1Gi", **spec: Any) -> Placement | Rejection:
    """For one core a replica with that much of the host."""
    body = {"neuronCores": 1, "resources": {"requests": {"cpu": cpu, "memory": memory}}, **spec}
    return choose_placement(model_spec(**body), settings())


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


@pytest.mark.parametrize(
    ("cpu", "memory", "expected"),
    [
        pytest.param("3920m", "14162Mi", "inf2.xlarge", id="all-that-the-smallest-has"),
        pytest.param("3921m", "1Gi", "inf2.8xlarge", id="a-little-more-cpu"),
        pytest.param("1", "14163Mi", "inf2.8xlarge", id="a-little-more-memory"),
        pytest.param("191450m", "718987Mi", "inf2.48xlarge", id="all-that-the-largest-has"),
    ],
)
def test_a_replica_goes_to_the_first_type_with_enough_cpu_and_memory(cpu: str, memory: str, expected: str) -> None:
    found = asking(cpu, memory)
    assert isinstance(found, Placement)
    assert found.instance_types[0] == expected


def test_types_whose_host_is_too_small_are_left_out_and_named() -> None:
    found = asking("8", "2Gi")
    assert isinstance(found, Placement)
    assert "inf2.xlarge leaves less to pods than the 8 cpu and 2 GiB of memory that a replica asks for" in found.reason


def test_a_type_that_may_be_large_enough_is_kept_where_no_other_surely_is() -> None:
    unsure = asking("1", "14Gi", placement={"instanceTypes": ["inf2.xlarge"]})
    assert isinstance(unsure, Placement)
    assert unsure.instance_types == ("inf2.xlarge",)
    assert "whether it fits, only a real node can tell" in unsure.reason
    surer = asking("1", "14Gi", placement={"instanceTypes": ["inf2.xlarge", "inf2.8xlarge"]})
    assert isinstance(surer, Placement)
    assert surer.instance_types == ("inf2.8xlarge",)
    assert isinstance(asking("1", "16Gi", placement={"instanceTypes": ["inf2.xlarge"]}), Rejection)


def test_hope_for_memory_never_leads_to_a_type_that_the_scheduler_could_not_use() -> None:
    types = {"instanceTypes": ["inf2.xlarge", "inf2.24xlarge"]}
    found = asking("1", "14Gi", neuronCores=2, placement=types)
    assert isinstance(found, Placement)
    assert found.instance_types == ("inf2.xlarge",)


BIG = {"name": "app", "image": "example.com/app:1", "resources": {"requests": {"cpu": "3"}}}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param(
            {"resources": {"requests": {"cpu": 4}}, "placement": {"instanceTypes": ["inf2.xlarge"]}},
            "asks for 4 cpu, but the most that is left to pods is 3.92 cpu (inf2.xlarge). Lower the requests in "
            "spec.resources or add inf2.8xlarge, inf2.24xlarge or inf2.48xlarge",
            id="cpu",
        ),
        pytest.param(
            {"resources": {"requests": {"memory": "900Gi"}}},
            "asks for 900 GiB of memory, but the most that is left to pods is 759.7 GiB of memory (inf2.48xlarge). "
            "Lower the requests in spec.resources",
            id="memory-that-none-has",
        ),
        pytest.param(
            {"resources": {"limits": {"cpu": 500, "memory": "900Gi"}}},
            "asks for 500 cpu, but the most that is left to pods is 191.45 cpu (inf2.48xlarge), and for 900 GiB",
            id="both-as-limits",
        ),
        pytest.param(
            {
                "resources": {"requests": {"cpu": 1}},
                "pod": {"containers": [BIG]},
                "placement": {"instanceTypes": ["inf2.xlarge"]},
            },
            "Lower the requests in spec.resources and spec.pod.containers or add inf2.8xlarge",
            id="with-the-containers-beside",
        ),
        pytest.param(
            {
                "neuronCores": 24,
                "resources": {"requests": {"cpu": 500}},
                "placement": {"instanceTypes": ["inf2.48xlarge"]},
            },
            "asks for 500 cpu",
            id="no-type-to-add",
        ),
    ],
)
def test_a_replica_too_large_for_every_host_is_told_how_much_there_is(spec: dict[str, Any], words: str) -> None:
    found = choose_placement(model_spec(**{"neuronCores": 1, **spec}), settings())
    assert isinstance(found, Rejection)
    assert found.reason is Reason.NO_MATCHING_INSTANCE_TYPE
    assert words in found.message


@pytest.mark.parametrize(
    ("label", "value", "expected"),
    [
        pytest.param("node.kubernetes.io/instance-type", "inf2.8xlarge", ["inf2.8xlarge"], id="type"),
        pytest.param("beta.kubernetes.io/instance-type", "inf2.8xlarge", ["inf2.8xlarge"], id="type-by-its-old-name"),
        pytest.param("karpenter.k8s.aws/instance-size", "24xlarge", ["inf2.24xlarge"], id="karpenter-size"),
        pytest.param("eks.amazonaws.com/instance-cpu", "192", ["inf2.48xlarge"], id="auto-mode-cpu"),
        pytest.param("karpenter.k8s.aws/instance-accelerator-count", "1", ["inf2.xlarge", "inf2.8xlarge"], id="count"),
    ],
)  # fmt: skip
def test_a_label_that_tells_the_type_narrows_the_choice(label: str, value: str, expected: list[str]) -> None:
    found = placed(1, nodeSelector={label: value})
    assert list(found.instance_types) == expected
    assert f"not what spec.placement.nodeSelector asks for ({label}: {value})" in found.reason


@pytest.mark.parametrize(
    "label",
    [
        "karpenter.sh/capacity-type",
        "topology.kubernetes.io/zone",
        "karpenter.sh/nodepool",
        "karpenter.k8s.aws/instance-accelerator-name",
        "team",
    ],
)
def test_other_labels_are_left_to_the_scheduler(label: str) -> None:
    assert placed(1, nodeSelector={label: "anything"}).instance_types == placed(1).instance_types


@pytest.mark.parametrize(
    ("types", "label", "value", "words"),
    [
        pytest.param(
            [], "kubernetes.io/arch", "arm64",
            "asks for kubernetes.io/arch: arm64, but inf2.xlarge, inf2.8xlarge, inf2.24xlarge and inf2.48xlarge have "
            "amd64. No instance type that is offered has it: remove it", id="arm",
        ),
        pytest.param([], "kubernetes.io/os", "windows", "have linux. No instance type", id="windows"),
        pytest.param(
            ["inf2.xlarge"], "node.kubernetes.io/instance-type", "inf2.8xlarge",
            "but inf2.xlarge has inf2.xlarge. Remove it, or name a type that has it in spec.placement.instanceTypes: "
            "inf2.8xlarge", id="another-type",
        ),
        pytest.param(
            [], "node.kubernetes.io/instance-type", "inf2.6xlarge",
            "did you mean inf2.8xlarge or inf2.24xlarge?", id="no-such-type",
        ),
        pytest.param(
            [], "karpenter.k8s.aws/instance-family", "trn1", "in spec.placement.instanceTypes: trn1.2xlarge or "
            "trn1.32xlarge", id="another-family",
        ),
        pytest.param([], "karpenter.k8s.aws/instance-category", "", "asks for karpenter.k8s.aws/instance-category: '', "
            "but", id="empty"),
    ],
)  # fmt: skip
def test_a_label_that_no_allowed_type_has_is_rejected_instead_of_waited_for(
    types: list[str], label: str, value: str, words: str
) -> None:
    found = rejected(1, *types, nodeSelector={label: value})
    assert found.reason is Reason.NO_MATCHING_INSTANCE_TYPE
    assert words in found.message


def test_labels_that_contradict_each_other_are_rejected() -> None:
    found = rejected(
        1, nodeSelector={"karpenter.k8s.aws/instance-size": "xlarge", "karpenter.k8s.aws/instance-cpu": "32"}
    )
    assert "instance-cpu: 32, but inf2.xlarge has 4. Remove it, or name a type" in found.message


known_types = st.lists(st.sampled_from([found.name for found in OFFERED]), max_size=7, unique=True)
told_by_type = st.dictionaries(
    st.sampled_from(sorted(labels_of(OFFERED[0]))),
    st.sampled_from(sorted({value for found in OFFERED for value in labels_of(found).values()} | {"arm64", ""})),
    max_size=2,
)
hosts = st.tuples(st.integers(0, 300_000), st.integers(0, 900_000))
NEXT_STEP = re.compile(r"remove it|Remove it|Ask for fewer|Lower the requests|ask for 1,? |Correct ", re.ASCII)


@hypothesis_settings(max_examples=300)
@given(
    cores=st.integers(1, 24),
    types=known_types,
    labels=told_by_type,
    host=hosts,
    scheduler=st.sampled_from(["", SCHEDULER]),
)
def test_every_type_that_is_chosen_meets_every_demand_and_a_rejection_names_a_next_step(
    cores: int, types: list[str], labels: dict[str, str], host: tuple[int, int], scheduler: str
) -> None:
    cpu_millis, memory_mib = host
    spec = model_spec(
        neuronCores=cores,
        placement={"instanceTypes": types, "nodeSelector": labels},
        resources={"requests": {"cpu": f"{cpu_millis}m", "memory": f"{memory_mib}Mi"}},
    )
    found = choose_placement(spec, settings(scheduler_name=scheduler))

    def is_possible(instance: InstanceType, *, surely: bool) -> bool:
        machine_share = 0 if surely else 0.075 * instance.memory_gib * 1024
        return (
            instance.fits(cores)
            and (bool(scheduler) or cores in (1, instance.neuron_cores))
            and cpu_millis <= instance.allocatable_cpu_millis
            and memory_mib <= instance.allocatable_memory_mib + machine_share
            and labels.items() <= labels_of(instance).items()
        )

    candidates = [one for one in OFFERED if one.name in types or (not types and one.family == "inf2")]
    sure = {instance.name for instance in candidates if is_possible(instance, surely=True)}
    possible = sure or {instance.name for instance in candidates if is_possible(instance, surely=False)}
    if isinstance(found, Rejection):
        assert not possible
        assert NEXT_STEP.search(found.message), found.message
        return
    assert set(found.instance_types) == possible
    assert list(found.instance_types) == [name for name in types or found.instance_types if name in possible]
    required = found.node_affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [term["matchExpressions"][0]["values"] for term in required] == [list(found.instance_types)]


@given(st.integers(1, 16))
def test_weights_fall_from_100_and_stay_above_zero(count: int) -> None:
    given_weights = list(weights([f"type-{place}" for place in range(count)]).values())
    assert given_weights == sorted(set(given_weights), reverse=True)
    assert given_weights[0] == 100
    assert given_weights[-1] >= 1


def test_each_type_is_preferred_by_its_weight() -> None:
    found = placed(1, "inf2.8xlarge", "inf2.xlarge")
    preferred = found.node_affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert [(term["weight"], term["preference"]["matchExpressions"][0]["values"]) for term in preferred] == [
        (100, ["inf2.8xlarge"]),
        (50, ["inf2.xlarge"]),
    ]
