"""Holds Python processes at their start, so that a test and not the clock says when a replaced worker comes back."""

from pathlib import Path

_HOLD = """
import os, time
gate = os.environ.get("WORKER_GATE")
while gate and os.path.exists(gate):
    time.sleep(0.02)
"""


class WorkerGate:
    """Give `environment` to a server: while the gate is closed, none of its new workers gets further than its start."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "closed"
        self._hook = folder / "hook"
        self._hook.mkdir(parents=True)
        (self._hook / "sitecustomize.py").write_text(_HOLD)

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self._hook), "WORKER_GATE": str(self._path)}

    def close(self) -> None:
        self._path.touch()

    def open(self) -> None:
        self._path.unlink()
