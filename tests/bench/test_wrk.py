"""What is read from wrk, and when its numbers are refused or explained."""

import pytest

from bench.errors import BenchError
from bench.wrk import parsed

GOOD = "Running 2s test\nRESULT requests=13000 us=2000000 p50=9100 p99=12000 failed=0 refused=0\n"


def test_a_summary_becomes_seconds_and_rates() -> None:
    loop = parsed(GOOD, "server", cpu_seconds=0.5, busy_cpu_seconds=1.0)

    assert (loop.per_second, loop.p50_seconds, loop.p99_seconds) == (6500.0, 0.0091, 0.012)
    assert loop.generator_share == 0.25
    assert loop.caveat == ""


def test_a_busy_generator_is_named_as_the_limit() -> None:
    assert parsed(GOOD, "server", cpu_seconds=1.99, busy_cpu_seconds=1.99).caveat == "the client was the limit"


def test_a_busy_machine_is_named_as_the_limit() -> None:
    assert "all CPUs were busy" in parsed(GOOD, "server", cpu_seconds=0.5, busy_cpu_seconds=10_000.0).caveat


@pytest.mark.parametrize(
    ("output", "told"),
    [
        pytest.param("unable to connect", "without a result: unable to connect", id="no result"),
        pytest.param(GOOD.replace("refused=0", "refused=7"), "7 were refused", id="one that was not answered 2xx"),
        pytest.param(GOOD.replace("failed=0", "failed=2"), "2 failed", id="one that was not answered"),
        pytest.param(GOOD.replace("=13000", "=0"), "of 0 requests", id="nothing done"),
    ],
)
def test_a_run_with_errors_is_no_figure(output: str, told: str) -> None:
    with pytest.raises(BenchError, match=told):
        parsed(output, "server", cpu_seconds=0.1, busy_cpu_seconds=0.1)
