"""The CRD on a real API server, at every limit that it states: what just fits is taken, what doesn't is refused."""

from collections.abc import Iterator

import pytest

from crd_limits import LimitCase, beyond, within
from integration.api_client import Api
from integration.conftest import install_crd
from local_control_plane import ControlPlane

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BEYOND, WITHIN = list(beyond()), list(within())


@pytest.fixture(scope="module")
def api(api_server: ControlPlane) -> Iterator[Api]:
    install_crd(api_server)
    client = Api(api_server.kubeconfig, "default")
    yield client
    client.close()


def verdicts(api: Api, cases: list[LimitCase], keyword: str) -> Iterator[tuple[LimitCase, int, str]]:
    for case in cases:
        if case.keyword == keyword:
            answer = api.try_create("neuronmodels", case.body)
            yield case, answer.status_code, answer.json().get("message", "")


@pytest.mark.parametrize("keyword", sorted({case.keyword for case in WITHIN}))
def test_what_just_fits_is_taken(api: Api, keyword: str) -> None:
    assert {case.id: said for case, status, said in verdicts(api, WITHIN, keyword) if status != 201} == {}


@pytest.mark.parametrize("keyword", sorted({case.keyword for case in BEYOND}))
def test_what_does_not_fit_is_refused_by_the_name_of_its_field_or_in_the_words_of_its_rule(
    api: Api, keyword: str
) -> None:
    wrong = {
        case.id: f"{status} {said}"
        for case, status, said in verdicts(api, BEYOND, keyword)
        if status != 422 or case.words not in said
    }
    assert wrong == {}
