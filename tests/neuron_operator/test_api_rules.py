"""What NeuronModel.parse accepts and refuses; tests/integration/test_crd.py asks the API server the same."""

import pytest

from crd_cases import INVALID, VALID, Case
from neuron_operator.api import NeuronModel
from neuron_operator.errors import InvalidSpecError


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.id)
def test_parse_accepts_a_valid_model(case: Case) -> None:
    assert NeuronModel.parse(case.body, strict=True).name == case.name


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.id)
def test_parse_refuses_an_invalid_model_in_the_words_of_the_api_server(case: Case) -> None:
    with pytest.raises(InvalidSpecError) as refused:
        NeuronModel.parse(case.body, strict=True)
    assert case.words in str(refused.value)
