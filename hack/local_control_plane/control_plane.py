"""A real API server with its etcd, as subprocesses on the loopback interface: no kubelet, no root, nothing left behind.

The controller manager, the scheduler and kwok are started only by those who need Deployments to become pods that run.
"""

import contextlib
import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from local_control_plane.programs import binaries, free_port

ADMIN, OPERATOR = "admin", "operator"
START_TIMEOUT_S = 180.0
# Never turned over into another file, which nobody would read.
AUDIT_LOG_MIB = 100_000
STAGES = Path(__file__).parent / "stages.yaml"
# What kwok hands out to pods is nobody's: nothing listens there, and nothing is routed to it.
POD_RANGE = "10.244.0.0/16"


@dataclass
class ControlPlane:
    """The running servers. The operator has a user of its own, so that the audit log tells its requests apart: an
    administrator, or a service account (`namespace:name`) that may do what is bound to it.

    With the audit level `Request` the log has what was sent, too; with `Metadata` it stays small.
    """

    folder: Path
    binaries: Path = field(default_factory=binaries)
    audit_level: Literal["Request", "Metadata"] = "Request"
    operator_account: str = ""
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def kubeconfig(self) -> Path:
        return self.folder / f"{ADMIN}.kubeconfig"

    @property
    def operator_kubeconfig(self) -> Path:
        return self.folder / f"{OPERATOR}.kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    def start(self) -> None:
        etcd_port, peer_port, self._port = free_port(), free_port(), free_port()
        self._write_files()
        etcd, peer = f"http://127.0.0.1:{etcd_port}", f"http://127.0.0.1:{peer_port}"
        self._spawn(
            "etcd",
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
        )
        self._etcd = etcd
        self.start_api_server()
        for user in (ADMIN, OPERATOR):
            self._write_kubeconfig(user)

    def start_api_server(self) -> None:
        """Again, once it was killed: with what etcd has kept, on the same port."""
        self._api_server = self._spawn(
            "kube-apiserver",
            f"--etcd-servers={self._etcd}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._port}",
            f"--cert-dir={self.folder / 'certificates'}",
            "--service-cluster-ip-range=10.0.0.0/16",
            "--authorization-mode=RBAC",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.folder / 'service-account.key'}",
            f"--service-account-signing-key-file={self.folder / 'service-account.key'}",
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={self.folder / 'audit-policy.json'}",
            f"--audit-log-path={self.audit_log}",
            f"--audit-log-maxsize={AUDIT_LOG_MIB}",
        )
        self._wait_until_ready()

    def kill_api_server(self) -> None:
        """In the middle of whatever it does; nobody answers until it is started again."""
        self._processes.remove(self._api_server)
        self._api_server.kill()
        self._api_server.wait()

    def start_controller_manager(self, *, requests_per_second: int = 200) -> None:
        """Deployments, garbage collection and the rest of the controllers; in a folder of its own would be no gain."""
        self._spawn(
            "kube-controller-manager",
            *self._delegated("controller-manager", requests_per_second),
            f"--service-account-private-key-file={self.folder / 'service-account.key'}",
        )

    def start_scheduler(self, *, requests_per_second: int = 200) -> None:
        """Pods get a node, by their requests, tolerations and affinity."""
        self._spawn("kube-scheduler", *self._delegated("scheduler", requests_per_second))

    def start_kwok(self) -> None:
        """Every node becomes Ready; every pod on one becomes Running and Ready, and goes at once when it is deleted.

        One with the annotation `neuron-serving.dev/never-runs` stays Pending.
        """
        self._spawn(
            "kwok",
            f"--kubeconfig={self.kubeconfig}",
            f"--config={STAGES}",
            "--manage-all-nodes",
            "--node-lease-duration-seconds=40",
            "--v=WARN",
            f"--cidr={POD_RANGE}",
        )

    def stop(self) -> None:
        """At once: an orderly end waits ten seconds for the watches, and nothing of it is read again."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def kubectl(
        self, *arguments: str, given: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        command = [str(self.binaries / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        ran = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        assert not check or ran.returncode == 0, f"{' '.join(arguments)}: {ran.stderr}"
        return ran

    def audit_position(self) -> int:
        """How long the audit log is by now: what comes later is what happens from here on."""
        return self.audit_log.stat().st_size if self.audit_log.exists() else 0

    def requests_by_operator(self, since: int = 0) -> Iterator[dict[str, Any]]:
        """What the operator's user asked since that position: one entry a request, in the order of the answers."""
        with self.audit_log.open("rb") as log:
            log.seek(since)
            for line in log:
                # The last line may not be written to its end yet.
                if line.endswith(b"\n"):
                    yield json.loads(line)

    def writes_by_operator(self, since: int = 0) -> Iterator[dict[str, Any]]:
        """Those of its requests that change something, whatever the answer."""
        return (entry for entry in self.requests_by_operator(since) if entry["verb"] not in ("get", "list", "watch"))

    def _spawn(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("ab")
        with log:
            command = [str(self.binaries / name), *arguments]
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        self._processes.append(process)
        return process

    def _delegated(self, name: str, requests_per_second: int) -> tuple[str, ...]:
        return (
            f"--kubeconfig={self.kubeconfig}",
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}",
            f"--cert-dir={self.folder / name}",
            f"--kube-api-qps={requests_per_second}",
            f"--kube-api-burst={2 * requests_per_second}",
        )

    def _write_files(self) -> None:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        encoded = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.folder / "service-account.key").write_bytes(encoded)
        (self.folder / "audit-policy.json").write_text(json.dumps(self._audit_policy()))
        groups = "" if self.operator_account else ',"system:masters"'
        users = (
            f'{ADMIN}-token,{ADMIN},{ADMIN},"system:masters"',
            f"{OPERATOR}-token,{self._operator},operator{groups}",
        )
        (self.folder / "tokens.csv").write_text("".join(f"{user}\n" for user in users))

    @property
    def _operator(self) -> str:
        return f"system:serviceaccount:{self.operator_account}" if self.operator_account else OPERATOR

    def _audit_policy(self) -> dict[str, Any]:
        return {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived", "ResponseStarted"],
            "rules": [{"level": self.audit_level, "users": [self._operator]}, {"level": "None"}],
        }

    def _write_kubeconfig(self, user: str) -> None:
        cluster = {
            "server": f"https://127.0.0.1:{self._port}",
            "certificate-authority": str(self.folder / "certificates" / "apiserver.crt"),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": f"{user}-token"}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "current-context": "test",
        }
        (self.folder / f"{user}.kubeconfig").write_text(json.dumps(config))

    def _wait_until_ready(self) -> None:
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            for process in self._processes:
                assert process.poll() is None, f"{process.args!r} ended: see {self.folder}"
            try:
                if self._is_ready(unverified):
                    return
            except (OSError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        raise AssertionError(f"the API server is not ready after {START_TIMEOUT_S:.0f} s: see {self.folder}")

    def _is_ready(self, context: ssl.SSLContext) -> bool:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=10, context=context)
        with contextlib.closing(connection):
            connection.request("GET", "/readyz", headers={"Authorization": f"Bearer {ADMIN}-token"})
            return connection.getresponse().status == http.client.OK
