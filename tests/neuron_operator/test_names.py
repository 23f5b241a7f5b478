"""Names are legal for every legal NeuronModel, up to the longest."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_operator import names
from neuron_operator.api.v1alpha1 import NAME_RULE

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
HASH = "0123456789abcdef"
model_names = st.from_regex(DNS_1035, fullmatch=True).map(lambda name: name[: names.NAME_MAX_LENGTH].rstrip("-"))


@settings(max_examples=50)
@given(model_names)
def test_every_legal_name_gives_legal_children(name: str) -> None:
    assert NAME_RULE.holds(name)
    for child in (name, names.revision_name(name, HASH)):
        assert DNS_1035.fullmatch(child)
        assert len(child) <= 63
    for value in names.child_labels(name).values():
        assert LABEL_VALUE.fullmatch(value)
        assert len(value) <= 63


def test_the_longest_name_leaves_no_room_unused() -> None:
    longest = "m" * names.NAME_MAX_LENGTH
    assert len(names.revision_name(longest, HASH)) == names.LABEL_VALUE_MAX_LENGTH
    assert not NAME_RULE.holds(longest + "m")


def test_the_selector_is_part_of_the_labels() -> None:
    assert names.selector("a").items() <= names.child_labels("a").items()


def test_a_revision_is_named_after_the_first_ten_digits_of_its_hash() -> None:
    assert names.revision_name("sentiment", HASH) == "sentiment-0123456789"


def test_url_is_the_service_in_its_namespace() -> None:
    assert names.url("sentiment", "shop") == "http://sentiment.shop.svc"
