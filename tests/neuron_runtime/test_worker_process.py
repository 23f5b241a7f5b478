"""One life of a worker: every state has its own deadline, and whatever it does, its end is told once and rightly."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import uvloop

from fake_workers import START, Recorder, fake_worker
from neuron_runtime import worker_output, worker_process
from neuron_runtime.health import WorkerState
from neuron_runtime.supervision import Ending
from neuron_runtime.worker_process import Deadlines, WorkerProcess

SHORT = 0.3
PATIENT = Deadlines(idle_ping=0.1, pong=3.0)
"""A live worker that the machine lets wait is not taken for a hung one."""
ROW = [np.ones((1, 1), np.float32)]
SERVES = """
become_ready()
for message in heard():
    if isinstance(message, Run):
        say(Result(message.batch, 0.001))
    elif isinstance(message, Ping):
        say(Pong())
"""


def worker_of(folder: Path, script: str, deadlines: Deadlines | None = None) -> tuple[WorkerProcess, Recorder]:
    recorder = Recorder()
    return WorkerProcess(START, fake_worker(folder, script), deadlines or Deadlines(), recorder), recorder


@pytest.mark.parametrize(
    ("state", "script", "deadlines"),
    [
        pytest.param("starting", "stop()", Deadlines(starting=SHORT), id="starting"),
        pytest.param("loading", "say(Progress('loading')); stop()", Deadlines(loading=SHORT), id="loading"),
        pytest.param("warming", "say(Progress('warming')); stop()", Deadlines(warming=SHORT), id="warming"),
        pytest.param("idle", "become_ready(); stop()", Deadlines(idle_ping=SHORT, pong=SHORT), id="idle"),
    ],
)
async def test_a_worker_that_stops_in_a_state_is_killed_at_that_states_deadline(
    tmp_path: Path, state: str, script: str, deadlines: Deadlines
) -> None:
    worker, recorder = worker_of(tmp_path, script, deadlines)

    ending = await worker.live()

    assert (ending.hung, ending.exit_code, recorder.gone) == (state, -signal.SIGKILL, 1)
    assert ending.how == f"hung while {state}"


async def test_a_worker_that_hangs_in_an_execution_is_killed_with_its_batch_in_hand(tmp_path: Path) -> None:
    worker, recorder = worker_of(tmp_path, "become_ready(); stop()", Deadlines(executing=SHORT))
    life = asyncio.create_task(worker.live())
    await recorder.until_state("ready")
    worker.submit(1, 0, 1, ROW)

    ending = await life

    assert (ending.hung, ending.was_running, worker.running) == ("executing", True, (1,))


async def test_a_hung_call_is_noticed_though_other_calls_go_on(tmp_path: Path) -> None:
    script = SERVES.replace("isinstance(message, Run)", "isinstance(message, Run) and message.batch != 1")
    worker, recorder = worker_of(tmp_path, script, Deadlines(executing=1.0))
    life = asyncio.create_task(worker.live())
    await recorder.until_state("ready")
    worker.submit(1, 0, 1, ROW)
    batch = 1
    while not life.done():
        batch += 1
        worker.submit(batch, 0, 1, ROW)
        answer = asyncio.create_task(recorder.until_result(batch))
        await asyncio.wait({answer, life}, return_when=asyncio.FIRST_COMPLETED)
        answer.cancel()

    assert (await life).hung == "executing"
    assert 1 in worker.running


def stand_still() -> None:
    """The whole event loop, as when its machine is paused, for longer than a worker may be silent."""
    time.sleep(PATIENT.idle_ping + PATIENT.pong + 1)


async def test_a_pause_of_the_front_process_is_not_held_against_a_worker(tmp_path: Path) -> None:
    worker, recorder = worker_of(tmp_path, SERVES, PATIENT)
    life = asyncio.create_task(worker.live())
    await recorder.until_state("ready")
    stand_still()
    await asyncio.sleep(2 * worker_process.WATCH_SECONDS)
    worker.submit(7, 0, 1, ROW)
    await recorder.until_result(7)

    worker.kill()
    assert (await life).hung is None


async def test_an_idle_worker_that_answers_is_left_alone(tmp_path: Path) -> None:
    worker, recorder = worker_of(tmp_path, SERVES, Deadlines(idle_ping=0.01, pong=30))
    life = asyncio.create_task(worker.live())
    await recorder.until_state("ready")
    await asyncio.sleep(4 * worker_process.WATCH_SECONDS)  # several pings

    assert (life.done(), worker.state) == (False, WorkerState.READY)
    worker.kill()
    ending = await life
    assert ending.ready_seconds is not None
    assert ending.ready_seconds > 0


@pytest.mark.parametrize(
    ("script", "how", "last_line"),
    [
        pytest.param("become_ready(); os.abort()", "killed by SIGABRT", "Fatal Python error: Aborted", id="abort"),
        pytest.param("os.kill(os.getpid(), 9)", "killed by SIGKILL", "", id="killed"),
        pytest.param("print('the last word', flush=True); os._exit(3)", "exit code 3", "the last word", id="exit"),
        pytest.param("import ctypes; ctypes.string_at(0)", "killed by SIGSEGV", "Segmentation fault", id="segfault"),
    ],
)
async def test_how_a_worker_ended_is_told_with_its_last_words(
    tmp_path: Path, script: str, how: str, last_line: str
) -> None:
    worker, recorder = worker_of(tmp_path, script)

    ending = await worker.live()

    assert (ending.how, recorder.gone) == (how, 1)
    assert any(last_line in line for line in ending.last_lines) or not last_line


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_process_that_a_worker_leaves_behind_does_not_hide_its_end(
    tmp_path: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    """It inherits the pipe, which therefore stays open."""
    script = "child = subprocess.Popen(['sleep', '50']); print(child.pid, flush=True); os._exit(5)"

    async def live() -> Ending:
        worker, _ = worker_of(tmp_path, script)
        return await worker.live()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        ending = runner.run(live())

    os.kill(int(ending.last_lines[0]), signal.SIGKILL)  # it is still there: its end was not what was waited for
    assert ending.exit_code == 5


async def test_output_without_line_ends_is_kept_in_pieces(tmp_path: Path) -> None:
    script = "sys.stdout.buffer.write(b'x' * 300_000); print(); print('after', flush=True); os._exit(0)"
    worker, _ = worker_of(tmp_path, script)

    ending = await worker.live()

    assert ending.last_lines[-1] == "after"
    assert max(map(len, ending.last_lines)) == worker_output.LONGEST_LINE


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("become_ready(); channel.shutdown(socket.SHUT_RDWR); stop()", id="it closed its channel"),
        pytest.param(
            "become_ready(); channel.sendall(b'\\x05\\0\\0\\0\\0\\0\\0\\0what?'); stop()", id="it sent nonsense"
        ),
    ],
)
async def test_a_worker_that_cannot_be_talked_to_any_more_takes_no_batch_and_is_ended(
    tmp_path: Path, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "CLOSED_SECONDS", 0.05)
    worker, recorder = worker_of(tmp_path, script)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)  # asyncio reports the nonsense there
    life = asyncio.create_task(worker.live())
    await recorder.until_gone()
    assert worker.state is WorkerState.LOST

    ending = await life

    assert ending.how == "ended by the server: it closed its channel and went on running"
    assert recorder.gone == 1


async def test_what_a_killed_worker_said_before_does_not_bring_it_back(tmp_path: Path) -> None:
    worker, recorder = worker_of(tmp_path, "become_ready(); stop()")
    life = asyncio.create_task(worker.live())
    await recorder.until_state("loading")
    worker.kill("enough")
    states = list(recorder.states)

    ending = await life

    assert (recorder.states, worker.state, ending.how) == (states, WorkerState.LOST, "ended by the server: enough")


async def test_a_process_that_cannot_be_started_is_an_end_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuron_runtime.worker_process.sys.executable", str(tmp_path / "no-python"))
    worker, recorder = worker_of(tmp_path, "")

    ending = await worker.live()

    assert ending.fatal is not None
    assert ending.fatal.message == "a worker process cannot be started: No such file or directory"
    assert (worker.ended.is_set(), recorder.gone) == (True, 1)


async def test_a_worker_killed_before_it_has_started_ends(tmp_path: Path) -> None:
    worker, _ = worker_of(tmp_path, SERVES)
    life = asyncio.create_task(worker.live())
    await asyncio.sleep(0)
    worker.kill("it is shutting down")

    assert (await life).exit_code == -signal.SIGKILL
