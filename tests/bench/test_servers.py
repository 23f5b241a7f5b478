"""When a server may be measured, and that nothing of it is left behind."""

import http.client
import subprocess
import sys

import psutil
import pytest

from bench.errors import BenchError
from bench.servers import Program, all_workers_ready, echo, end_session, get, running


@pytest.mark.parametrize(
    ("metrics", "is_ready"),
    [
        pytest.param(
            'neuron_model_workers{state="ready"} 2.0\nneuron_model_workers{state="lost"} 0.0\n', True, id="all"
        ),
        pytest.param(
            'neuron_model_workers{state="ready"} 1.0\nneuron_model_workers{state="warming"} 1.0\n', False, id="one"
        ),
        pytest.param("", False, id="nobody says so"),
    ],
)
def test_a_server_is_measured_once_every_worker_is_ready(metrics: str, is_ready: bool) -> None:
    assert all_workers_ready(metrics) is is_ready


@pytest.mark.timeout(180)
def test_the_echo_answers_and_is_gone_afterwards() -> None:
    with echo() as server:
        assert get(server.port, "/")[0] == http.client.OK

    assert not psutil.pid_exists(server.pid)
    assert get(server.port, "/")[0] == 0


def test_children_of_a_server_end_with_it() -> None:
    pause = "import signal; signal.pause()"
    spawning = (
        f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', '{pause}']).pid, flush=True); {pause}"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", spawning],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()))
        end_session(process)

    assert psutil.wait_procs([child], timeout=30)[1] == []


def test_a_server_that_ends_at_once_is_told_with_its_last_words() -> None:
    program = Program("broken", [sys.executable, "-c", "raise SystemExit('no such model')"], {}, "/")

    with pytest.raises(BenchError, match="no such model"), running(program):
        pass
