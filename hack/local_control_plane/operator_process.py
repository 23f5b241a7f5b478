"""The operator as users run it: a process of its own, against a real API server."""

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from local_control_plane.programs import ROOT, free_port

START_TIMEOUT_S, END_TIMEOUT_S, ANSWER_TIMEOUT_S = 120.0, 60.0, 60.0


AT_WORK = (
    "neuron_serving_operator_oldest_key_age_seconds",
    "neuron_serving_operator_queue_depth",
    "neuron_serving_operator_postponed_statuses",
)


@dataclass
class OperatorProcess:
    """`python -m neuron_operator run`; ready when its own endpoint says so."""

    kubeconfig: Path
    log: Path
    settings: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = ("-m", "neuron_operator", "run")
    _process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the operator was not started"
        return self._process

    def start(self) -> None:
        self.health_port, self.metrics_port = free_port(), free_port()
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "PYTHONPATH": str(ROOT / "operator"),
            "NEURON_OPERATOR_HEALTH_PORT": str(self.health_port),
            "NEURON_OPERATOR_METRICS_PORT": str(self.metrics_port),
            **{f"NEURON_OPERATOR_{name.upper()}": value for name, value in self.settings.items()},
        }
        with self.log.open("ab") as log:
            command = [sys.executable, *self.program]
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            if self._get(self.health_port, "/readyz")[0] == http.client.OK:
                return
            time.sleep(0.05)
        raise AssertionError(f"the operator is not ready after {START_TIMEOUT_S:.0f} s:\n{self.log.read_text()}")

    def stop(self) -> float:
        """SIGTERM; the seconds it took to end."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(timeout=END_TIMEOUT_S) == 0, self.log.read_text()
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return time.monotonic() - started

    def kill(self) -> None:
        """SIGKILL, if it was started and has not ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def is_idle(self) -> bool:
        """Whether it looks at no model, none waits, and every status tells what is known."""
        return not any(self.metric(name) for name in AT_WORK)

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        code, text = self._get(self.metrics_port, "/metrics")
        assert code == http.client.OK, f"the operator does not tell its metrics:\n{self.log.read_text()}"
        found = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE)
        return sum(float(value) for value in found)

    def rss_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024

    def _get(self, port: int, path: str) -> tuple[int, str]:
        """Code and text; code 0 when nobody answers. It is asked often beside measurements, so it costs little."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        return 0, ""
