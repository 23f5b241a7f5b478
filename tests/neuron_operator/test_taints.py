"""Which toleration answers which taint, as the scheduler has it."""

from typing import Any

import pytest

from neuron_operator.taints import in_words, untolerated

SEARCH = {"key": "team", "value": "search", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "is_tolerated"),
    [
        pytest.param({"operator": "Exists"}, True, id="everything"),
        pytest.param({"key": "team", "operator": "Exists"}, True, id="the-key"),
        pytest.param({"key": "team", "operator": "Exists", "effect": "NoExecute"}, False, id="another-effect"),
        pytest.param({"key": "team", "value": "search"}, True, id="the-value"),
        pytest.param({"key": "team", "operator": "Equal", "value": "ads"}, False, id="another-value"),
        pytest.param({"key": "zone", "operator": "Exists"}, False, id="another-key"),
    ],
)
def test_a_taint_is_tolerated_by_key_value_and_effect(toleration: dict[str, Any], is_tolerated: bool) -> None:
    assert (untolerated([SEARCH], [toleration]) == []) == is_tolerated


def test_a_preference_keeps_nobody_off() -> None:
    assert untolerated([{**SEARCH, "effect": "PreferNoSchedule"}], []) == []


def test_taints_are_written_as_kubectl_writes_them() -> None:
    bare = {"key": "gpu", "effect": "NoExecute"}
    assert [in_words(SEARCH), in_words(bare)] == ["team=search:NoSchedule", "gpu:NoExecute"]
