"""The chart on a real API server: accepted, kept on uninstall, taken over by the next install, and least privilege."""

import json
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess

import pytest

from chart.rendered import CHART, NAMESPACE, RELEASE, run_helm
from local_control_plane import ControlPlane

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

MODEL = {
    "apiVersion": "neuron-serving.dev/v1alpha1",
    "kind": "NeuronModel",
    "metadata": {"name": "survivor", "namespace": NAMESPACE},
    "spec": {"artifact": {"uri": "https://models.example/survivor/"}, "neuronCores": 1},
}
ACCOUNT = f"system:serviceaccount:{NAMESPACE}:{RELEASE}"
Helm = Callable[..., CompletedProcess[str]]


@pytest.fixture
def helm(api_server: ControlPlane) -> Iterator[Helm]:
    """Helm in the chart's namespace; what it installed is gone afterwards, but the definition, which others share."""

    def run(*arguments: str) -> CompletedProcess[str]:
        return run_helm(*arguments, f"--namespace={NAMESPACE}", kubeconfig=api_server.kubeconfig)

    # Another test may have put the definition there by hand, which Helm would rightly refuse to take.
    run("install", RELEASE, str(CHART), "--create-namespace", "--take-ownership")
    yield run
    for release in (RELEASE, "other"):
        run("uninstall", release, "--ignore-not-found")


def uid(api_server: ControlPlane, *what: str) -> str:
    found = api_server.kubectl("get", *what, f"--namespace={NAMESPACE}", "--output=json").stdout
    return str(json.loads(found)["metadata"]["uid"])


def test_definition_and_models_survive_uninstall_and_the_next_install_takes_over(
    api_server: ControlPlane, helm: Helm
) -> None:
    api_server.kubectl("apply", "-f", "-", given=json.dumps(MODEL))
    before = uid(api_server, "neuronmodel", "survivor")
    removed = helm("uninstall", RELEASE)
    assert removed.returncode == 0, removed.stderr
    assert api_server.kubectl("get", "deployments", f"--namespace={NAMESPACE}", "--output=name").stdout == ""
    assert uid(api_server, "neuronmodel", "survivor") == before
    again = helm("install", RELEASE, str(CHART))
    assert again.returncode == 0, again.stderr
    assert uid(api_server, "neuronmodel", "survivor") == before
    api_server.kubectl("delete", "neuronmodel", "survivor", f"--namespace={NAMESPACE}")


def test_another_release_is_refused_until_told_to_take_over(api_server: ControlPlane, helm: Helm) -> None:
    helm("uninstall", RELEASE)
    refused = helm("install", "other", str(CHART))
    assert refused.returncode != 0
    assert "invalid ownership metadata" in refused.stderr
    taken = helm("install", "other", str(CHART), "--take-ownership")
    assert taken.returncode == 0, taken.stderr


# One install for all rows: each takes a second.
PERMISSIONS = {
    ("watch", "neuronmodels"): True,
    ("patch", "neuronmodels/status"): True,
    ("patch", "neuronmodels"): False,
    ("delete", "neuronmodels"): False,
    ("patch", "deployments.apps"): True,
    ("delete", "poddisruptionbudgets.policy"): True,
    ("create", "controllerrevisions.apps"): True,
    ("list", "pods"): True,
    ("delete", "pods"): False,
    ("create", "pods"): False,
    ("watch", "nodes"): True,
    ("patch", "nodes"): False,
    ("create", "events.events.k8s.io"): True,
    ("get", "secrets"): False,
    ("list", "configmaps"): False,
    ("create", "clusterroles.rbac.authorization.k8s.io"): False,
}


def may(api_server: ControlPlane, user: str, verb: str, resource: str) -> bool:
    name, _, subresource = resource.partition("/")
    asked = ["auth", "can-i", verb, name, f"--subresource={subresource}", f"--as={user}", "--all-namespaces"]
    return api_server.kubectl(*asked, check=False).stdout.strip() == "yes"


@pytest.mark.usefixtures("helm")
def test_operator_may_do_its_work_and_no_more(api_server: ControlPlane) -> None:
    assert {row: may(api_server, ACCOUNT, *row) for row in PERMISSIONS} == PERMISSIONS
