"""The children of the models that are measured with, as the operator renders them."""

from typing import Any

from neuron_operator.plan import Known, make_plan
from neuron_operator.settings import Settings
from operator_bench.models import model

Body = dict[str, Any]
# Of any model: told apart by the name and the owner's identity, both unlike anything else in it.
NAME, OWNER = "placeholder", "00000000-0000-0000-0000-000000000000"


def rendered(found: Body) -> dict[str, Body]:
    """Every child of a model that is on the API server, by kind."""
    return {change.body["kind"]: change.body for change in make_plan(Known(found, {}), Settings()).apply}


def placeholders() -> list[Body]:
    """Every child of a model that is called NAME and known as OWNER."""
    body = model(NAME)
    return list(rendered({**body, "metadata": {**body["metadata"], "uid": OWNER, "generation": 1}}).values())
