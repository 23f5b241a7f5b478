"""kubectl and helm against one cluster, as a person would call them. Used by the demo and by the end-to-end stories."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class CommandError(Exception):
    """A command ended with an error; the text is what it printed on standard error."""


@dataclass(frozen=True)
class Kube:
    """One cluster: where its programs are and how to reach it. `kubeconfig` None means the current context."""

    binaries: Path
    kubeconfig: Path | None

    def environment(self) -> dict[str, str]:
        path = f"{self.binaries}:{os.environ.get('PATH', '')}"
        return {**os.environ, "PATH": path, **({"KUBECONFIG": str(self.kubeconfig)} if self.kubeconfig else {})}

    def run(self, *command: str, stdin: str | None = None) -> str:
        ran = subprocess.run(command, input=stdin, env=self.environment(), capture_output=True, text=True, check=False)
        if ran.returncode != 0:
            raise CommandError(f"{' '.join(command)}\n{ran.stderr.strip() or ran.stdout.strip()}")
        return ran.stdout

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return self.run("kubectl", *arguments, stdin=stdin)

    def apply(self, manifest: str | Mapping[str, Any], *, server_side: bool = False) -> str:
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        return self.kubectl("apply", *(["--server-side"] if server_side else []), "-f", "-", stdin=text)

    def get(self, kind: str, name: str, namespace: str = "default") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
        return found

    def list(self, kind: str, *, namespace: str = "default", labels: str = "") -> list[dict[str, Any]]:
        selector = ["-l", labels] if labels else []
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-n", namespace, *selector, "-o", "json"))[
            "items"
        ]
        return found

    def wait(self, what: str, condition: str, *, namespace: str = "default", timeout_s: int = 120) -> None:
        """Block until `kubectl wait --for=condition` holds; raises CommandError with the object's own words if not."""
        try:
            self.kubectl("wait", what, f"--for={condition}", "-n", namespace, f"--timeout={timeout_s}s")
        except CommandError as error:
            described = self.kubectl("describe", what, "-n", namespace)
            raise CommandError(f"{error}\n{described}") from error

    @contextmanager
    def forward(self, target: str, port: int, namespace: str = "default") -> Iterator[str]:
        """Yield the base URL of a loopback port that reaches `port` of a Service or pod while the block runs."""
        command = ["kubectl", "port-forward", "-n", namespace, target, f":{port}"]
        process = subprocess.Popen(
            command, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            bound = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
            if bound is None:
                raise CommandError(f"{' '.join(command)}\n{process.stderr.read().strip()}")
            yield f"http://127.0.0.1:{bound[1]}"
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()
            process.stderr.close()
