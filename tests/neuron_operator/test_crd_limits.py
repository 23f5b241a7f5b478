"""NeuronModel.parse at every limit of the CRD; tests/integration/test_crd_limits.py asks the API server the same."""

from collections import Counter

import pytest

import crd_limits
from crd_cases import INVALID
from crd_limits import LimitCase, beyond, places, within
from neuron_operator.api import NeuronModel
from neuron_operator.api.schema import custom_resource_definition
from neuron_operator.errors import InvalidSpecError

BEYOND, WITHIN = list(beyond()), list(within())


def of_keyword(cases: list[LimitCase], keyword: str) -> list[LimitCase]:
    return [case for case in cases if case.keyword == keyword]


def verdict(case: LimitCase) -> str:
    """What is said against it; nothing if it is accepted."""
    try:
        NeuronModel.parse(case.body, strict=True)
    except InvalidSpecError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("keyword", sorted({case.keyword for case in WITHIN}))
def test_what_just_fits_is_accepted(keyword: str) -> None:
    assert {case.id: verdict(case) for case in of_keyword(WITHIN, keyword) if verdict(case)} == {}


@pytest.mark.parametrize("keyword", sorted({case.keyword for case in BEYOND}))
def test_what_does_not_fit_is_refused_by_the_name_of_its_field_or_in_the_words_of_its_rule(keyword: str) -> None:
    assert {case.id: verdict(case) for case in of_keyword(BEYOND, keyword) if case.words not in verdict(case)} == {}
    assert all(case.words for case in of_keyword(BEYOND, keyword))


def test_no_limit_of_the_schema_is_without_a_case() -> None:
    said = Counter(keyword for _, node in places() for keyword in node if keyword in crd_limits.LIMITS)
    assert {keyword for _, node in places() for keyword in node} <= crd_limits.LIMITS | crd_limits.STRUCTURE
    cases = Counter(case.keyword for case in BEYOND)
    for keyword in (
        "enum",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "maxProperties",
    ):
        assert cases[keyword] == said[keyword], keyword
    assert cases["required"] == sum(len(node.get("required", ())) for _, node in places())


def test_no_rule_is_without_a_case_that_breaks_it() -> None:
    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    nodes = [schema, *(node for _, node in places())]
    messages = {rule["message"] for node in nodes for rule in node.get(crd_limits.RULES, ())}
    broken = [case.words for case in of_keyword(BEYOND, "rule")] + [case.words for case in INVALID if case.words]
    assert [message for message in messages if not any(words in message for words in broken)] == []
    assert len(of_keyword(BEYOND, "rule")) == sum(len(node.get(crd_limits.RULES, ())) for _, node in places())
