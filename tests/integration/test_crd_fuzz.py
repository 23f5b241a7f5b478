"""Random specs on a real API server: it and NeuronModel.parse judge alike; what they accept can be stored rendered."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crd_limits import BASE, Node
from crd_strategies import specs
from integration.api_client import Api
from integration.conftest import install_crd
from local_control_plane import ControlPlane
from model_builders import UID, settings
from neuron_operator.api import NeuronModel
from neuron_operator.changes import change_to, with_desired_hash
from neuron_operator.errors import InvalidSpecError
from neuron_operator.indices import trimmed
from neuron_operator.placement import Rejection, choose_placement
from neuron_operator.render import desired_children, pod_template

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

EXAMPLES = hypothesis_settings(max_examples=150, suppress_health_check=list(HealthCheck))
SETTINGS = settings(scheduler_name="neuron-scheduler")
# What compares two fields of the pod, or sums several: only the API server's answer to the Deployment tells it.
BEYOND_THE_SCHEMA = ("must be less than or equal to", "must be no more than")


@pytest.fixture(scope="module")
def api(api_server: ControlPlane) -> Iterator[Api]:
    install_crd(api_server)
    client = Api(api_server.kubeconfig, "default")
    yield client
    client.close()


def model_with(spec: Node) -> Node:
    metadata = {"name": "case", "namespace": "default"}
    return {"apiVersion": "neuron-serving.dev/v1alpha1", "kind": "NeuronModel", "metadata": metadata, "spec": spec}


def objection(body: Node) -> str:
    try:
        NeuronModel.parse(body, strict=True)
    except InvalidSpecError as error:
        return str(error)
    return ""


@EXAMPLES
@given(spec=specs())
def test_both_judge_alike_and_what_they_accept_can_be_stored_rendered(api: Api, spec: Node) -> None:
    answer = api.try_create("neuronmodels", model_with(spec))
    assert (answer.status_code == 201) == (objection(model_with(spec)) == ""), (
        answer.text,
        objection(model_with(spec)),
    )
    if answer.status_code == 201:
        for child in rendered(answer.json()):
            stored = api.try_create(f"{child['kind'].lower()}s", child)
            assert stored.status_code == 201 or any(words in stored.text for words in BEYOND_THE_SCHEMA), stored.text
            # What the API server makes of a child must not look like somebody's edit of it.
            assert stored.status_code != 201 or change_to(child, trimmed(child["kind"], stored.json())) is None


def rendered(stored: Node) -> tuple[dict[str, Any], ...]:
    """The children of what the API server made of a model."""
    stored["metadata"]["uid"] = UID
    model = NeuronModel.parse(stored)
    placement = choose_placement(model.spec, SETTINGS)
    if isinstance(placement, Rejection):
        return ()
    return tuple(map(with_desired_hash, desired_children(model, pod_template(model, placement, SETTINGS))))


NAMES = st.from_regex(r"[a-z0-9.-]{1,54}", fullmatch=True) | st.text(max_size=4)


@EXAMPLES
@given(name=NAMES)
def test_both_judge_names_alike(api: Api, name: str) -> None:
    body = model_with(BASE)
    body["metadata"]["name"] = name
    answer = api.try_create("neuronmodels", body)
    assert (answer.status_code == 201) == (objection(body) == ""), (answer.text, objection(body))
