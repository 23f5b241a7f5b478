"""Flags and environment are the same settings; what is wrong is said by name."""

from pathlib import Path

import pytest

from neuron_runtime.settings import ENV_PREFIX, ServeSettings
from neuron_runtime.termination import FatalError

VALUES = {
    "bundle": ("/b", Path("/b")),
    "engine": ("cpu", "cpu"),
    "cores": ("3", 3),
    "host": ("::1", "::1"),
    "port": ("81", 81),
    "model_name": ("m", "m"),
    "max_batch_size": ("4", 4),
    "in_flight": ("3", 3),
    "batch_window_microseconds": ("0", 0),
    "queue_capacity_rows": ("99", 99),
    "queue_capacity_bytes": ("1000", 1000),
    "max_rows_per_request": ("7", 7),
    "request_timeout_seconds": ("1.5", 1.5),
    "drain_seconds": ("0", 0.0),
    "refuse_payload_seconds": ("60", 60.0),
    "max_body_bytes": ("10", 10),
    "header_timeout_seconds": ("3", 3.0),
    "body_timeout_seconds": ("4", 4.0),
    "max_connections": ("100", 100),
    "max_image_pixels": ("1000", 1000),
    "accept_token_ids": ("true", True),
    "load_timeout_seconds": ("2", 2.0),
    "execution_timeout_seconds": ("2", 2.0),
    "degraded_exit_seconds": ("0", 0.0),
    "neuron_monitor": ("off", "off"),
    "verify": ("false", False),
    "simulated_service_ms": ("0.5", 0.5),
    "simulated_row": ("resnet18", "resnet18"),
    "access_log_ratio": ("0.25", 0.25),
    "log_level": ("debug", "debug"),
    "termination_message_path": ("/t", Path("/t")),
}


def test_the_table_above_is_complete() -> None:
    assert set(VALUES) == set(ServeSettings.model_fields)


@pytest.mark.parametrize(("name", "given", "expected"), [(name, *pair) for name, pair in VALUES.items()], ids=VALUES)
def test_each_setting_by_environment_and_by_flag(
    monkeypatch: pytest.MonkeyPatch, name: str, given: str, expected: object
) -> None:
    flag = f"--{name.replace('_', '-')}"
    switches = {"verify": "--no-verify", "accept_token_ids": "--accept-token-ids"}
    by_flag = ServeSettings.load([switches[name]] if name in switches else [flag, given])
    monkeypatch.setenv(f"{ENV_PREFIX}{name.upper()}", given)
    by_environment = ServeSettings.load([])

    assert getattr(by_flag, name) == getattr(by_environment, name) == expected


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{ENV_PREFIX}PORT", "1")

    assert ServeSettings.load(["--port", "2"]).port == 2


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--port", "x"], "port: Input should be a valid integer"),
        (["--cores", "-1"], "cores: Input should be greater than or equal to 0"),
        (["--engine", "gpu"], "engine: Input should be 'torch_neuronx', 'cpu' or 'simulated'"),
        (["--model-name", "a b"], "model_name: String should match pattern"),
    ],
)
def test_wrong_values_are_named(argv: list[str], told: str) -> None:
    with pytest.raises(FatalError, match="the configuration is not valid") as refused:
        ServeSettings.load(argv)

    assert told in refused.value.message
    assert refused.value.reason == "InvalidConfiguration"


def test_every_setting_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exited:
        ServeSettings.load(["--help"])

    page = capsys.readouterr().out
    assert exited.value.code == 0
    assert all(f"--{name.replace('_', '-')}" in page for name in VALUES)
    assert all(field.description for field in ServeSettings.model_fields.values())
