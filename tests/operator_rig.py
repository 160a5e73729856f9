"""The operator as it runs: its own process under its own RBAC, a real API server, a real server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from cluster.access import Access
from cluster.program import Program, answers, free_port

from pilotage.kubernetes.depth import decoder

ROOT = Path(__file__).resolve().parents[1]
PILOTAGE = Path(sys.executable).parent / "pilotage"
ACCOUNT = "mcp-operator"
CLUSTER = "test"
LONG = 60.0
ROLES = """
admin: {effects: [read, write], ask: [destroy], manage: ["*"]}
cluster:
  effects: [read, write]
  ask: [destroy]
  manage: [tools:read, tools:write, tools:approve, "tools:own:*", "secrets:write:K8S_*",
           runs:read, runs:write, runs:approve, approvals:write, "act:for:kubernetes:*"]
"""


_read = decoder(dict[str, Any])


def until(true: Callable[[], Any], what: str = "that") -> Any:
    """Look again and again, for as long as the slowest machine may need; what was true then."""
    end = time.monotonic() + LONG
    while not (found := true()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.05)
    return found


@dataclass
class House:
    """A tool server in a process of its own, which can be stopped and started again."""

    home: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.home / "roles.yaml").write_text(ROLES)
        (self.home / "config.yaml").write_text(yaml.safe_dump(dict(self.settings)))
        argv = [PILOTAGE, "serve", "--port", str(self.port)]
        self.program = Program(argv, self.home.with_suffix(".log"), self.environment)
        self.keys = {role: self.key(role, f"the-{role}") for role in ("admin", "cluster")}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PILOTAGE_", "MCP_"))}
        more = {"PILOTAGE_HOME": str(self.home), "PILOTAGE_EGRESS_ALLOW": "127.0.0.1 10.0.0.0/8"}
        return {**kept, **more}

    def key(self, role: str, name: str) -> str:
        argv = [PILOTAGE, "keys", "create", name, "--role", role]
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start(self) -> None:
        self.program.start()
        self.program.wait_until(
            lambda: answers("127.0.0.1", self.port, "/readyz", tls=False), "ready"
        )

    def stop(self, *, kill: bool = False) -> None:
        self.program.stop(kill=kill)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        key: str = "admin",
        more: Mapping[str, str] = {},
    ) -> tuple[int, dict[str, Any]]:
        headers = {
            "Authorization": f"Bearer {self.keys[key]}",
            "Content-Type": "application/json",
            **more,
        }
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=LONG) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else {}
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"{}")

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return self.ask("POST", f"/api/v2/tools/call/{tool}", arguments)[1]

    def registered(self, name: str) -> dict[str, Any] | None:
        status, said = self.ask("GET", f"/api/v2/tools/{name}")
        return said if status == 200 else None


@dataclass
class Rig:
    """What a test of the operator works with. `operate` starts one more operator."""

    access: Access
    namespace: str
    house: House
    folder: Path
    server: str = ""
    operators: list[Program] = field(default_factory=list)

    def operate(self, *flags: str, name: str = "", environment: Mapping[str, str] = {}) -> Program:
        name = name or f"operator-{len(self.operators)}"
        port = free_port()
        argv = [
            PILOTAGE, "operator", "--context", ACCOUNT, "--cluster-name", CLUSTER,
            "--watch-namespaces", self.namespace, "--metrics-bind-address", "0",
            "--health-probe-bind-address", f"127.0.0.1:{port}",
            "--sweep-seconds", "1", "--secret-seconds", "1", *flags,
        ]  # fmt: skip
        more = {
            "MCP_SERVER_URL": self.server or self.house.url,
            "MCP_API_KEY": self.house.keys["cluster"],
            "PILOTAGE_HOME": str(self.folder / name),
            **self.access.environment,
            **environment,
        }
        program = Program(argv, self.folder / f"{name}.log", {**self.house.environment, **more})
        self.operators.append(program)
        program.start()
        if "--leader-elect" not in flags:
            program.wait_until(lambda: answers("127.0.0.1", port, "/readyz", tls=False))
        return program

    def kubectl(self, *argv: str, input: str | None = None) -> str:
        return self.access.kubectl(*argv, f"--namespace={self.namespace}", input=input)

    def apply(self, kind: str, name: str, spec: Mapping[str, Any], **more: Any) -> None:
        meta = {"name": name, "namespace": self.namespace, **more}
        body = {"apiVersion": "mcp.example.com/v1alpha1", "kind": kind}
        self.apply_object({**body, "metadata": meta, "spec": dict(spec)})

    def apply_object(self, object: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", input=json.dumps(object))

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        done = self.access.run_kubectl(
            "get", kind, name, f"--namespace={self.namespace}", "-o", "json"
        )
        if done.returncode:
            assert "NotFound" in done.stderr, done.stderr
            return None
        return _read(done.stdout.encode())

    def condition(self, kind: str, name: str, type: str = "Ready") -> dict[str, Any] | None:
        """The condition as it stands of the newest generation; None: it does not say yet."""
        found = self.get(kind, name)
        if found is None:
            return None
        for one in found.get("status", {}).get("conditions", ()):
            if one["type"] == type and one["observedGeneration"] == found["metadata"]["generation"]:
                return dict(one)
        return None

    def wait(self, kind: str, name: str, reason: str, type: str = "Ready") -> dict[str, Any]:
        """Until the condition has that reason."""

        def there() -> Any:
            one = self.condition(kind, name, type)
            return one if one is not None and one["reason"] == reason else None

        try:
            found: dict[str, Any] = until(there, f"{kind} {name} {type} {reason}")
        except AssertionError as error:
            said = json.dumps((self.get(kind, name) or {}).get("status"), indent=1)
            logs = "".join(one.log.read_text()[-3_000:] for one in self.operators)
            raise AssertionError(f"{error}:\n{said}\n{logs}") from None
        return found

    def secret(self, name: str, **data: str) -> None:
        body = {"apiVersion": "v1", "kind": "Secret", "stringData": data}
        self.apply_object({**body, "metadata": {"name": name, "namespace": self.namespace}})


APPLY = ("apply", "--server-side", "--force-conflicts", "-f")
"""How the tests install: each may find what another has installed in the same cluster."""


def install(access: Access) -> None:
    """The CRDs, and the rights of the operator as they are shipped."""
    done = access.run_kubectl("create", "namespace", "mcp-system")
    assert done.returncode == 0 or "AlreadyExists" in done.stderr, done.stderr
    crds = ROOT / "deploy" / "crds"
    access.kubectl(*APPLY, str(crds))
    access.kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(crds))
    for name in ("rbac", "approvals"):
        access.kubectl(*APPLY, str(ROOT / f"deploy/kustomize/operator/{name}.yaml"))


@contextmanager
def rigged(
    access: Access, namespace: str, folder: Path, settings: Mapping[str, Any] | None = None
) -> Iterator[Rig]:
    """A rig with a server that runs and no operator yet; all of it ends with the test."""
    bound = str(ROOT / "deploy/kustomize/namespace/secrets.yaml")
    access.kubectl(f"--namespace={namespace}", *APPLY, bound)
    house = House(folder / "house", settings or {})
    rig = Rig(access, namespace, house, folder)
    try:
        house.start()
        yield rig
    finally:
        for one in rig.operators:
            one.stop(kill=True)
        rig.house.stop(kill=True)
