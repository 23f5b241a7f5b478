"""Which lines are written at which level, and that each is one JSON object."""

import json
import logging
from collections.abc import Iterator

import pytest

from neuron_runtime import logs


@pytest.fixture(autouse=True)
def root_restored() -> Iterator[None]:
    """pytest's own handlers sit on the root logger, and setting up replaces what is there."""
    root, ours = logging.getLogger(), logging.getLogger("neuron_runtime")
    handlers, levels = root.handlers, (root.level, ours.level)
    root.handlers = []
    yield
    root.handlers = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [
        ("debug", ["debug", "info", "warning", "error"], ["warning", "error"]),
        ("info", ["info", "warning", "error"], ["warning", "error"]),
        ("error", ["error"], ["error"]),
    ],
)
def test_libraries_are_only_heard_from_warning_on(
    capsys: pytest.CaptureFixture[str], level: str, ours: list[str], theirs: list[str]
) -> None:
    logs.set_up(level)
    for name in ("neuron_runtime.pool", "botocore.credentials", "uvicorn.error"):
        for said in ("debug", "info", "warning", "error"):
            logging.getLogger(name).log(logging.getLevelNamesMapping()[said.upper()], "a line")

    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]

    assert [line["level"] for line in lines if line["logger"] == "neuron_runtime.pool"] == ours
    assert [line["level"] for line in lines if line["logger"] == "botocore.credentials"] == theirs
    assert [line["level"] for line in lines if line["logger"] == "uvicorn.error"] == theirs


def test_facts_and_tracebacks_are_fields_of_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("info")
    error = ValueError("what went wrong")
    logging.getLogger("neuron_runtime.x").error("failed", exc_info=error, extra={"requestId": "7"})

    line = json.loads(capsys.readouterr().err)

    assert (line["message"], line["requestId"]) == ("failed", "7")
    assert line["exception"].endswith("ValueError: what went wrong")
