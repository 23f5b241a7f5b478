"""The process before its watches are up: ends at once when it is told to, and starts as any user."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.silent_api_server import SilentApiServer
from local_control_plane import ROOT

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# Left to itself, kopf takes five seconds to stop, on any machine; we take a fraction of one, slow ones two.
KOPFS_END_S = 4.5
RUN = "import sys; from neuron_operator.__main__ import main; sys.exit(main(['run']))"
# What the standard library does for a uid without an entry in the passwd file, as on OpenShift.
WITHOUT_A_USER = f"""
import getpass
def getuser():
    raise KeyError("getpwuid(): uid not found: 1000650000")
getpass.getuser = getuser
{RUN}
"""
# SIGTERM at the two moments that no request tells of.
WHILE_IT_IMPORTS = f"""
import importlib, os, signal
real = importlib.import_module
def import_module(name, *more, **options):
    if name == "neuron_operator.process":
        os.kill(os.getpid(), signal.SIGTERM)
    return real(name, *more, **options)
importlib.import_module = import_module
{RUN}
"""
AS_KOPF_STARTS = f"""
import kopf, os, signal
real = kopf.spawn_tasks
async def spawn_tasks(**options):
    tasks = await real(**options)
    os.kill(os.getpid(), signal.SIGTERM)
    return tasks
kopf.spawn_tasks = spawn_tasks
{RUN}
"""


@pytest.fixture
def knows_models() -> bool:
    return True


@pytest.fixture
def api_server(knows_models: bool) -> Iterator[SilentApiServer]:
    server = SilentApiServer(knows_models=knows_models)
    yield server
    server.close()


def start(program: str, api_server: SilentApiServer, folder: Path) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "KUBECONFIG": str(api_server.write_kubeconfig(folder / "kubeconfig")),
        "PYTHONPATH": str(ROOT / "operator"),
        "NEURON_OPERATOR_HEALTH_PORT": "0",
        "NEURON_OPERATOR_METRICS_PORT": "0",
    }
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.mark.parametrize("knows_models", [False, True], ids=["asking-for-the-crd", "starting-the-watches"])
@pytest.mark.parametrize("program", [RUN, WITHOUT_A_USER], ids=["a-user", "an-arbitrary-uid"])
def test_sigterm_before_the_watches_are_up_ends_the_process_cleanly(
    program: str, api_server: SilentApiServer, tmp_path: Path
) -> None:
    with start(program, api_server, tmp_path) as process:
        try:
            assert api_server.met.wait(60), "the operator asked for nothing"
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=60)
            took_s = time.monotonic() - started
        finally:
            process.kill()
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert took_s < KOPFS_END_S


@pytest.mark.parametrize("program", [WHILE_IT_IMPORTS, AS_KOPF_STARTS], ids=["while-it-imports", "as-kopf-starts"])
def test_a_very_early_sigterm_is_not_lost(program: str, api_server: SilentApiServer, tmp_path: Path) -> None:
    with start(program, api_server, tmp_path) as process:
        try:
            output, _ = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0, output
    assert "Traceback" not in output
