"""Watches a namespace as kubectl shows it and notes when each thing could first be seen."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from demo.kube import Kube

KINDS = ("neuronmodels", "deployments", "pods")
Body = dict[str, Any]


# A watch is seconds behind at most; what has not come by then never will.
LONGEST_LAG_S = 60.0


@dataclass
class Observer:
    """Every state of every object that arrived, with the moment of its arrival."""

    seen: list[tuple[float, Body]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def first(self, kind: str, holds: Callable[[Body], bool]) -> float | None:
        """When an object of `kind` for which `holds` is true arrived first; waits for it if need be."""

        def found() -> float | None:
            return next((at for at, body in self.seen if body["kind"] == kind and holds(body)), None)

        with self.arrived:
            return self.arrived.wait_for(found, LONGEST_LAG_S)

    def read(self, stream: IO[str]) -> None:
        """Take kubectl's objects until it ends: pretty-printed JSON, one after the other."""
        lines: list[str] = []
        for line in stream:
            lines.append(line)
            if line.startswith("}"):
                with self.arrived:
                    self.seen.append((time.monotonic(), json.loads("".join(lines))))
                    self.arrived.notify_all()
                lines.clear()


@contextmanager
def observed(kube: Kube, namespace: str) -> Iterator[Observer]:
    """Watch while the block runs."""
    observer = Observer()
    with ExitStack() as stack:
        for kind in KINDS:
            command = ["kubectl", "get", kind, "-n", namespace, "--watch", "-o", "json"]
            process = stack.enter_context(
                subprocess.Popen(command, env=kube.environment(), stdout=subprocess.PIPE, text=True)
            )
            assert process.stdout is not None
            reader = threading.Thread(target=observer.read, args=(process.stdout,), name=f"watch of {kind}")
            reader.start()
            # In this order at the end: kubectl ends, so its output does, so the reader does; then the pipe is closed.
            stack.callback(reader.join)
            stack.callback(process.terminate)
        yield observer
