"""Every example that README and docs offer is one the operator would run."""

from pathlib import Path

import pytest

from model_builders import settings
from neuron_operator.api import NeuronModel
from neuron_operator.documents import documents_in
from neuron_operator.names import KIND
from neuron_operator.placement import Placement, choose_placement
from neuron_operator.render import pod_template

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("example", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_says_what_it_is_has_only_known_fields_and_finds_a_place(example: Path) -> None:
    text = example.read_text()
    assert text.startswith("# ")
    bodies = [document.body for document in documents_in(text)]
    models = [NeuronModel.parse(body, strict=True) for body in bodies if body["kind"] == KIND]
    assert models
    for model in models:
        placement = choose_placement(model.spec, settings())
        assert isinstance(placement, Placement)
        assert pod_template(model, placement, settings())
