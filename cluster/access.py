"""What every user of a cluster has: a kubeconfig and a kubectl that fits; also for one given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from cluster.control_plane import OPERATOR
from cluster.error import ClusterError, PartMissing

ADMIN = "admin"


class Access:
    """A way in. The kubeconfig's contexts are `admin`, the current one, and `mcp-operator`, the
    operator's service account, which may do what RBAC says and nothing else."""

    def __init__(self, kubectl: Path, kubeconfig: Path) -> None:
        self.kubectl_program = kubectl
        self.kubeconfig = kubeconfig

    def kubectl(self, *argv: str, context: str = ADMIN, input: str | None = None) -> str:
        """What the real kubectl printed; if it fails, a ClusterError with what it said."""
        done = self.run_kubectl(*argv, context=context, input=input)
        if done.returncode:
            raise ClusterError(f"kubectl {' '.join(argv)} ({done.returncode})", done.stderr.strip())
        return done.stdout

    def run_kubectl(
        self, *argv: str, context: str = ADMIN, input: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run it, and look at its exit code and its words yourself."""
        return subprocess.run(
            [self.kubectl_program, f"--context={context}", *argv],
            env={**os.environ, **self.environment},
            input=input if input is not None else "",
            capture_output=True,
            text=True,
        )

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program needs to use this cluster and no other."""
        cache = self.kubeconfig.parent / "kubectl-cache"
        return {"KUBECONFIG": str(self.kubeconfig), "KUBECACHEDIR": str(cache)}


def given(context: str, folder: Path) -> Access:
    """A way into somebody's cluster, by the name of a context of their kubeconfig.

    Makes the operator's namespace and account there, and a kubeconfig of our own in `folder`:
    the one given is not touched.
    """
    program = shutil.which("kubectl")
    if program is None:
        raise PartMissing(f"no kubectl to reach {context} with", "install kubectl")
    view = ["config", "view", "--minify", "--flatten", f"--context={context}", "--output=json"]
    done = subprocess.run([program, *view], capture_output=True, text=True)
    if done.returncode:
        raise ClusterError(f"no context {context} in the kubeconfig", done.stderr.strip())
    config = json.loads(done.stdout)
    only = config["contexts"][0]["context"]
    only.pop("namespace", None)
    config["contexts"] = [{"name": ADMIN, "context": only}]
    config["current-context"] = ADMIN
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    access = Access(Path(program), folder / "kubeconfig")
    _write(access.kubeconfig, config)
    namespace, account = OPERATOR.split("/")
    _make(access, "namespace", namespace)
    _make(access, "serviceaccount", account, f"--namespace={namespace}")
    token = access.kubectl("create", "token", account, f"--namespace={namespace}", "--duration=4h")
    config["users"].append({"name": account, "user": {"token": token.strip()}})
    config["contexts"].append({"name": account, "context": {**only, "user": account}})
    _write(access.kubeconfig, config)
    return access


def _make(access: Access, *what: str) -> None:
    done = access.run_kubectl("create", *what)
    if done.returncode and "AlreadyExists" not in done.stderr:
        raise ClusterError(f"{' '.join(what)} cannot be made there", done.stderr.strip())


def _write(path: Path, config: object) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(config), "utf-8")
