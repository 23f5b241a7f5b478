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
