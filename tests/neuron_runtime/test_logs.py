"""Which lines are written at which level, and that each is one JSON object."""

import fcntl
import json
import logging
import os
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


def test_lines_that_nobody_reads_hold_nobody_up_and_are_counted_when_somebody_does() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    handler = logs.WaitingLines(writing, most_lines=10)
    logs.set_up("info", handler)
    for number in range(1000):
        logging.getLogger("neuron_runtime.x").info("a line", extra={"number": number})

    written: list[int] = []
    lost = 0
    with os.fdopen(reading) as log:
        while len(written) + lost < 1000:
            line = json.loads(log.readline())
            lost += line.get("lines", 0)
            written += [line["number"]] if "number" in line else []
    handler.finish()
    os.close(writing)

    assert lost > 0
    assert written == sorted(written)
    assert len(written) + lost == 1000


def test_the_last_lines_are_written_before_the_process_ends() -> None:
    reading, writing = os.pipe()
    logs.set_up("info", logs.WaitingLines(writing))
    logging.getLogger("neuron_runtime.x").info("the last words")
    logs.finish()
    os.close(writing)

    with os.fdopen(reading) as log:
        assert json.loads(log.read())["message"] == "the last words"
