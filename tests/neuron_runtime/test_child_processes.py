"""Killing a child that is ending on its own leaves its exit code to be read."""

import asyncio
import signal
import subprocess

from neuron_runtime.child_processes import kill

# Enough for the race to be lost several times where the child is polled before the signal.
ATTEMPTS = 60


async def child(script: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec("/bin/sh", "-c", script, stdout=subprocess.PIPE)


async def test_a_child_that_has_just_ended_keeps_its_exit_code() -> None:
    codes = set()
    for _ in range(ATTEMPTS):
        process = await child("exit 3")
        assert process.stdout is not None
        await process.stdout.read()
        kill(process)
        codes.add(await process.wait())

    assert codes == {3}


async def test_a_child_that_runs_is_ended_and_a_second_time_does_nothing() -> None:
    process = await child("exec sleep 60")
    kill(process)

    assert await process.wait() == -signal.SIGKILL
    kill(process)
