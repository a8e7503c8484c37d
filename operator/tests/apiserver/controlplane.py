"""A control plane as plain processes: etcd, kube-apiserver and, if wanted, kube-controller-manager.

Real admission, validation, server-side apply, RBAC, watch cache and garbage collection, without a container engine.
There is no kubelet and no scheduler: pods stay Pending unless a test writes their status.
"""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.machine import networks

ADMIN_TOKEN = "admin-of-this-test-cluster"
START_S = 120.0
PORTS = range(10240, 20000)
# A test run that is killed takes its servers with it.
ORPHANED = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()
AUDIT_POLICY: dict[str, Any] = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


def free_ports(count: int) -> list[int]:
    """Ports without a listener now, below those that the kernel gives to connections in the meantime."""
    return networks.free_ports(PORTS, count)


@dataclass
class Process:
    """One server with its log."""

    command: Sequence[str]
    log: Path
    handle: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.handle = subprocess.Popen([*ORPHANED, *self.command], stdout=log, stderr=log, start_new_session=True)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop and reap; killed when it has not ended 10 s later."""
        if self.handle is None:
            return
        self.handle.send_signal(how)
        try:
            self.handle.wait(10)
        except subprocess.TimeoutExpired:
            self.handle.kill()
            self.handle.wait()
        self.handle = None

    def require_alive(self) -> None:
        if self.handle is not None and self.handle.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.command[0]} ended with {self.handle.returncode}; its log ends:\n{tail}")


@dataclass
class ControlPlane:
    """A running control plane. `kubeconfig` is the administrator's."""

    folder: Path
    programs: Mapping[str, Path]
    url: str
    etcd: Process
    apiserver: Process
    controllers: Process | None
    controllers_url: str = ""
    ready_s: float = 0.0
    """Seconds from the start of the first process until all are ready and prepared."""

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    @property
    def ca(self) -> Path:
        return self.folder / "serving.crt"

    def audit(self) -> list[dict[str, Any]]:
        """All audit events so far, in the order in which the requests ended."""
        with self.audit_log.open() as lines:
            return [json.loads(line) for line in lines]

    def request(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[int, dict[str, Any]]:
        """One request as the administrator: HTTP status and answer; {} for one that is not JSON.

        It takes a tenth of the processor time of kubectl.
        """
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}", "Content-Type": content_type}
        connection = self.connect()
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            is_json = "json" in (answer.headers["Content-Type"] or "")
            return answer.status, json.loads(text) if is_json else {}
        finally:
            connection.close()

    def must(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> dict[str, Any]:
        """One request as the administrator that must succeed; the answer. AssertionError with the message otherwise."""
        code, answer = self.request(method, path, body, content_type)
        assert code < 300, f"{method} {path}: HTTP {code}: {answer.get('message', answer)}"
        return answer

    def connect(self) -> http.client.HTTPSConnection:
        """A connection of one's own."""
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=self._trust)

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Output of kubectl; CalledProcessError with its error text otherwise."""
        command = [str(self.programs["kubectl"]), "--kubeconfig", str(self.kubeconfig), *arguments]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
        return done.stdout

    def kubeconfig_for(self, name: str, token: str, url: str | None = None) -> Path:
        """A kubeconfig file for a bearer token, at this server or at a proxy in front of it (`url`)."""
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(_kubeconfig(url or self.url, self.ca, token)))
        return path

    def wait_ready(self) -> None:
        """Until the API server says ok and the default namespace is there."""
        self._wait([f"{self.url}/readyz", f"{self.url}/api/v1/namespaces/default"], self._trust)

    def start_controllers(self) -> None:
        """Start the controller manager and wait until it says ok."""
        if self.controllers is not None:
            self.controllers.start()
            # It makes itself a certificate.
            self._wait([f"{self.controllers_url}/healthz"], ssl._create_unverified_context())

    def _wait(self, urls: Sequence[str], context: ssl.SSLContext) -> None:
        """Until all answer with success. RuntimeError with the end of its log when a process ends."""
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            for process in filter(None, (self.etcd, self.apiserver, self.controllers)):
                process.require_alive()
            if all(_answers(url, context) for url in urls):
                return
            time.sleep(0.05)
        raise TimeoutError(f"the control plane was not ready within {START_S:.0f} s: {self.folder}")

    def stop(self) -> None:
        for process in (self.controllers, self.apiserver, self.etcd):
            if process is not None:
                process.stop()


def _answers(url: str, context: ssl.SSLContext) -> bool:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    try:
        with urllib.request.urlopen(request, timeout=2, context=context):
            return True
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def control_plane(
    programs: Mapping[str, Path],
    *,
    controllers: bool = True,
    audit_policy: Mapping[str, Any] | None = None,
    flags: Sequence[str] = (),
    prepare: Callable[[ControlPlane], object] = lambda _: None,
) -> Iterator[ControlPlane]:
    """Start everything in a folder of its own and remove it afterwards.

    `flags` are added to kube-apiserver's command line. `prepare` comes before the controllers: they look for new kinds
    every 30 s only, and until then nothing of such a kind is collected.
    """
    folder = Path(tempfile.mkdtemp(prefix="control-plane-"))
    plane = _prepare(folder, programs, controllers, audit_policy or AUDIT_POLICY, flags)
    began = time.monotonic()
    try:
        plane.etcd.start()
        plane.apiserver.start()
        plane.wait_ready()
        prepare(plane)
        plane.start_controllers()
        plane.ready_s = time.monotonic() - began
        yield plane
    finally:
        plane.stop()
        shutil.rmtree(folder)


def _prepare(
    folder: Path,
    programs: Mapping[str, Path],
    controllers: bool,
    audit_policy: Mapping[str, Any],
    flags: Sequence[str],
) -> ControlPlane:
    client, peer, secure, manager = free_ports(4)
    _make_keys(folder)
    (folder / "tokens.csv").write_text(f'{ADMIN_TOKEN},admin,admin,"system:masters"\n')
    (folder / "audit.yaml").write_text(yaml.safe_dump(dict(audit_policy)))
    url = f"https://127.0.0.1:{secure}"
    plane = ControlPlane(
        folder=folder,
        programs=programs,
        url=url,
        etcd=Process(_etcd(folder, programs, client, peer), folder / "etcd.log"),
        apiserver=Process([*_apiserver(folder, programs, client, secure), *flags], folder / "apiserver.log"),
        controllers=Process(_controllers(folder, programs, manager), folder / "controllers.log")
        if controllers
        else None,
        controllers_url=f"https://127.0.0.1:{manager}",
    )
    plane.kubeconfig_for("admin", ADMIN_TOKEN)
    return plane


def _make_keys(folder: Path) -> None:
    """A self-signed serving certificate and the key that signs service account tokens."""
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    make += ["-days", "2", "-subj", "/CN=kube-apiserver", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    for name in ("serving", "accounts"):
        files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt")]
        subprocess.run([*make, *files], check=True, capture_output=True)


def _etcd(folder: Path, programs: Mapping[str, Path], client: int, peer: int) -> list[str]:
    here, there = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    return [
        str(programs["etcd"]),
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={here}",
        f"--advertise-client-urls={here}",
        f"--listen-peer-urls={there}",
        f"--initial-advertise-peer-urls={there}",
        f"--initial-cluster=default={there}",
        "--unsafe-no-fsync",  # nothing here has to outlive the machine
        "--log-level=error",
    ]


def _apiserver(folder: Path, programs: Mapping[str, Path], etcd: int, port: int) -> list[str]:
    return [
        str(programs["kube-apiserver"]),
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--tls-cert-file={folder / 'serving.crt'}",
        f"--tls-private-key-file={folder / 'serving.key'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'accounts.crt'}",
        f"--service-account-signing-key-file={folder / 'accounts.key'}",
        "--service-cluster-ip-range=10.0.0.0/16",
        "--endpoint-reconciler-type=none",
        f"--audit-policy-file={folder / 'audit.yaml'}",
        f"--audit-log-path={folder / 'audit.log'}",
        "--v=1",
    ]


def _controllers(folder: Path, programs: Mapping[str, Path], port: int) -> list[str]:
    kubeconfig = folder / "admin.kubeconfig"
    return [
        str(programs["kube-controller-manager"]),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'manager-certs'}",
        "--leader-elect=false",
        "--use-service-account-credentials=false",
        f"--service-account-private-key-file={folder / 'accounts.key'}",
        f"--root-ca-file={folder / 'serving.crt'}",
        "--controllers=*,-node-ipam-controller,-node-lifecycle-controller",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--concurrent-deployment-syncs=20",
        "--concurrent-replicaset-syncs=20",
        "--concurrent-gc-syncs=20",
    ]


def _kubeconfig(url: str, ca: Path, token: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": url, "certificate-authority": str(ca)}}],
        "users": [{"name": "test", "user": {"token": token}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "current-context": "test",
    }
