"""Settings come from NEURON_OPERATOR_ variables, and every one is documented."""

import pytest
from pydantic import ValidationError

from neuron_operator.settings import ENV_PREFIX, Settings


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}RUNTIME_IMAGE", "example.com/runtime:2")
    monkeypatch.setenv(f"{ENV_PREFIX}SCHEDULER_NAME", "my-scheduler")
    settings = Settings()
    assert settings.runtime_image == "example.com/runtime:2"
    assert settings.scheduler_name == "my-scheduler"


def test_settings_cannot_be_changed_once_read() -> None:
    field = next(iter(Settings.model_fields))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(Settings(), field, "other")


def test_every_setting_has_a_sentence_of_documentation() -> None:
    assert [name for name, field in Settings.model_fields.items() if not (field.description or "").endswith(".")] == []


@pytest.mark.parametrize(
    ("given", "namespaces", "reads_nodes"),
    [
        pytest.param("", (), True, id="the-whole-cluster"),
        pytest.param("shop", ("shop",), False, id="one"),
        pytest.param(" shop, lab ,", ("shop", "lab"), False, id="spaces-and-a-last-comma"),
    ],
)
def test_namespaces_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, given: str, namespaces: tuple[str, ...], reads_nodes: bool
) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}WATCH_NAMESPACES", given)
    settings = Settings()
    assert (settings.watch_namespaces, settings.may_read_nodes) == (namespaces, reads_nodes)
    assert Settings(read_nodes=not reads_nodes).may_read_nodes != reads_nodes


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        pytest.param("shop,lab,shop", "'shop' is named twice", id="twice"),
        pytest.param("Shop", "'Shop' can't be a namespace", id="upper-case"),
        pytest.param("shop;lab", "'shop;lab' can't be a namespace", id="another-separator"),
        pytest.param("shop,-lab", "'-lab' can't be a namespace", id="starts-with-a-dash"),
        pytest.param("s" * 64, "can't be a namespace", id="too-long"),
        pytest.param("shop,*", "'*' can't be a namespace", id="a-pattern"),
    ],
)
def test_a_wrong_namespace_is_named(monkeypatch: pytest.MonkeyPatch, given: str, problem: str) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}WATCH_NAMESPACES", given)
    with pytest.raises(ValidationError) as caught:
        Settings()
    assert problem in caught.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("WORKERS", "0", id="no-workers"),
        pytest.param("HEALTH_PORT", "tcp://10.0.0.1:8081", id="port-of-a-service-link"),
        pytest.param("LOG_LEVEL", "loud", id="unknown-level"),
        pytest.param("RUNTIME_IMAGE", "", id="no-image"),
    ],
)
def test_a_wrong_value_is_refused_at_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}{name}", value)
    with pytest.raises(ValidationError, match=name.lower()):
        Settings()
