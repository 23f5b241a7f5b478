"""The catalog's figures and what it suggests for names it does not know."""

import pytest

from neuron_operator.catalog import CATALOG, OFFERED, InstanceType, find, labels_of, present_name, suggestions


@pytest.mark.parametrize(
    ("name", "devices", "cores", "device_memory_gib"),
    [
        # AWS Neuron documentation, Inf2 and Trn1 architecture pages.
        ("inf2.xlarge", 1, 2, 32),
        ("inf2.8xlarge", 1, 2, 32),
        ("inf2.24xlarge", 6, 12, 192),
        ("inf2.48xlarge", 12, 24, 384),
        ("trn1.2xlarge", 1, 2, 32),
        ("trn1.32xlarge", 16, 32, 512),
        ("inf1.6xlarge", 4, 16, 32),
    ],
)
def test_the_catalog_has_the_documented_figures(name: str, devices: int, cores: int, device_memory_gib: int) -> None:
    found = find(name)
    assert found is not None
    assert (found.devices, found.neuron_cores) == (devices, cores)
    assert found.devices * found.device_memory_gib == device_memory_gib


def test_names_are_unique_and_larger_sizes_cost_more() -> None:
    assert len({instance.name for instance in CATALOG}) == len(CATALOG)
    for family in {instance.family for instance in CATALOG}:
        by_size = sorted((found for found in CATALOG if found.family == family), key=lambda found: found.size)
        prices = [instance.price_usd_per_hour for instance in by_size]
        assert prices == sorted(prices)


def test_inf1_is_known_but_not_offered() -> None:
    assert {found.family for found in CATALOG} - {found.family for found in OFFERED} == {"inf1"}


@pytest.mark.parametrize(
    ("unknown", "expected"),
    [
        pytest.param("inf2.6xlarge", ["inf2.8xlarge", "inf2.24xlarge"], id="size-of-inf1"),
        pytest.param("inf2.2xlarge", ["inf2.8xlarge", "inf2.24xlarge"], id="size-of-trn1"),
        pytest.param("inf2.96xlarge", ["inf2.24xlarge", "inf2.48xlarge"], id="larger-than-all"),
        pytest.param("inf2.large", ["inf2.xlarge"], id="misspelled"),
        pytest.param("inf3.xlarge", ["inf2.xlarge"], id="family-that-is-not"),
        pytest.param("m5.large", [], id="something-else"),
    ],
)
def test_an_unknown_name_gets_what_was_probably_meant(unknown: str, expected: list[str]) -> None:
    assert suggestions(unknown)[: len(expected) or 2] == expected


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        pytest.param("inf2.xlarge", [1, 2], id="one-device"),
        pytest.param("inf2.24xlarge", list(range(1, 13)), id="ring"),
        pytest.param("trn1.32xlarge", [1, 2, 8, 16], id="torus"),
    ],
)
def test_a_topology_gives_these_core_counts(name: str, fitting: list[int]) -> None:
    found = find(name)
    assert found is not None
    assert [cores for cores in range(25) if found.fits(cores)] == fitting


@pytest.mark.parametrize("instance", CATALOG, ids=lambda instance: instance.name)
def test_without_the_extension_only_one_or_all_cores_fit(instance: InstanceType) -> None:
    fitting = [cores for cores in range(65) if instance.fits_without_extension(cores)]
    assert fitting == sorted({1, instance.neuron_cores})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Karpenter's own table of instance types.
        pytest.param("inf2.8xlarge", ("inf", "inf2", "2", "8xlarge", "32", "131072", "1"), id="inf2"),
        pytest.param("trn1.2xlarge", ("trn", "trn1", "1", "2xlarge", "8", "32768", "1"), id="trn1"),
        pytest.param("trn1n.32xlarge", ("trn", "trn1n", "1", "32xlarge", "128", "524288", "16"), id="trn1n"),
    ],
)
@pytest.mark.parametrize("provisioner", ["karpenter.k8s.aws", "eks.amazonaws.com"])
def test_a_type_has_the_labels_of_its_nodes(provisioner: str, name: str, expected: tuple[str, ...]) -> None:
    instance = find(name)
    assert instance is not None
    labels = labels_of(instance)
    kinds = ("category", "family", "generation", "size", "cpu", "memory", "accelerator-count")
    assert tuple(labels[f"{provisioner}/instance-{kind}"] for kind in kinds) == expected
    assert (labels["kubernetes.io/arch"], labels["kubernetes.io/os"]) == ("amd64", "linux")
    assert labels["node.kubernetes.io/instance-type"] == name


def test_a_renamed_label_means_what_its_new_name_means() -> None:
    assert present_name("beta.kubernetes.io/instance-type") == "node.kubernetes.io/instance-type"
    assert present_name("team") == "team"
