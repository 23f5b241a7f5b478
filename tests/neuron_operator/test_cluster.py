"""How an answer of the API server becomes one of our errors, and where each kind lives."""

import json

import pytest

from neuron_operator import errors
from neuron_operator.cluster import Ref, _api_error, _path, _proxy_of

REFUSED = json.dumps({"kind": "Status", "message": "services is forbidden"}).encode()


@pytest.mark.parametrize(
    ("code", "kind", "is_retryable"),
    [
        (400, errors.RejectedError, False),
        (401, errors.ForbiddenError, True),
        (403, errors.ForbiddenError, True),
        (404, errors.NotFoundError, True),
        (409, errors.ConflictError, True),
        (418, errors.ApiError, True),
        (422, errors.RejectedError, False),
        (429, errors.ThrottledError, True),
        (500, errors.UnreachableError, True),
        (503, errors.UnreachableError, True),
    ],
)
def test_a_status_code_becomes_an_error(code: int, kind: type[errors.ApiError], is_retryable: bool) -> None:
    error = _api_error(code, {}, REFUSED, "PATCH /api/v1/services")
    assert type(error) is kind
    assert (error.status, error.is_retryable) == (code, is_retryable)
    assert str(error) == "PATCH /api/v1/services: services is forbidden"


@pytest.mark.parametrize(("header", "seconds"), [("7", 7.0), ("soon", 1.0), (None, 1.0)])
def test_a_busy_server_says_how_long_to_wait(header: str | None, seconds: float) -> None:
    error = _api_error(429, {"Retry-After": header} if header else {}, b"slow down", "GET /")
    assert isinstance(error, errors.ThrottledError)
    assert error.retry_after_s == seconds
    assert "slow down" in str(error)


@pytest.mark.parametrize(
    ("ref", "path"),
    [
        (Ref("Pod", "shop", "a"), "/api/v1/namespaces/shop/pods/a"),
        (Ref("Pod", "", ""), "/api/v1/pods"),
        (Ref("Node", "", "n1"), "/api/v1/nodes/n1"),
        (Ref("NeuronModel", "shop", "m"), "/apis/neuron-serving.dev/v1alpha1/namespaces/shop/neuronmodels/m"),
    ],
)
def test_where_an_object_lives(ref: Ref, path: str) -> None:
    assert _path(ref) == path


@pytest.mark.parametrize(
    ("environment", "proxy"),
    [
        ({}, None),
        ({"https_proxy": "http://proxy:3128"}, "http://proxy:3128"),
        ({"http_proxy": "http://proxy:3128"}, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "api.example.com"}, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "other.example.com"}, "http://proxy:3128"),
    ],
)
def test_the_environment_names_a_proxy(
    environment: dict[str, str], proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        for spelled in (name, name.upper()):
            monkeypatch.delenv(spelled, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert _proxy_of("https://api.example.com:6443") == proxy
