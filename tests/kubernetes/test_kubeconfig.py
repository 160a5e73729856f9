"""Finding a cluster: files read as kubectl reads them, credentials that the real server takes."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster.access import Access
from cluster.build import KUBERNETES, built
from cluster.control_plane import ControlPlane

from pilotage.domain.errors import BadInput, Unavailable
from pilotage.kubernetes import kubeconfig
from pilotage.kubernetes.client import Client
from pilotage.kubernetes.cluster import Cluster
from pilotage.kubernetes.credentials import TokenFile
from pilotage.kubernetes.errors import Unauthorized
from pilotage.kubernetes.kind import NAMESPACE
from pki import Authority

PLUGIN = """
import json, os, pathlib, sys
asked = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
counts = pathlib.Path(sys.argv[1])
counts.write_text(str(int(counts.read_text() or 0) + 1))
(counts.parent / "asked.json").write_text(json.dumps(asked))
(counts.parent / "environment.json").write_text(json.dumps(dict(os.environ)))
status = json.loads(os.environ["STATUS"])
print(json.dumps({"apiVersion": asked["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


def written(file: Path, user: dict[str, Any], cluster: dict[str, Any], **context: str) -> Path:
    """A kubeconfig of one context, "here"."""
    told = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", **context}}],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(told))
    return file


def parts(access: Access) -> tuple[dict[str, Any], str]:
    """The server as a kubeconfig says it, and the token of its administrator."""
    told = yaml.safe_load(access.kubeconfig.read_text())
    names = {one["name"]: one["user"] for one in told["users"]}
    return dict(told["clusters"][0]["cluster"]), names["admin"]["token"]


async def answers(cluster: Cluster) -> bool:
    """May we ask it anything? That the answer is an object is enough."""
    async with Client(cluster) as client:
        found = await client.get(NAMESPACE, "default")
    return bool(found["metadata"]["name"] == "default")


async def test_a_token_and_a_certificate_authority_in_the_file(
    control_plane: Access, tmp_path: Path
) -> None:
    cluster, token = parts(control_plane)
    pem = Path(cluster.pop("certificate-authority")).read_bytes()
    cluster["certificate-authority-data"] = base64.b64encode(pem).decode()
    file = written(tmp_path / "config", {"token": token}, cluster, namespace="shop")
    found = kubeconfig.read(file)
    assert (found.name, found.namespace) == ("here", "shop")
    assert await answers(found)


async def test_files_are_sought_beside_the_kubeconfig(
    control_plane: Access, tmp_path: Path
) -> None:
    cluster, token = parts(control_plane)
    folder = tmp_path / "deep"
    (folder / "pki").mkdir(parents=True)
    (folder / "pki/ca.crt").write_bytes(Path(cluster["certificate-authority"]).read_bytes())
    (folder / "token").write_text(token + "\n")
    cluster["certificate-authority"] = "pki/ca.crt"
    assert await answers(
        kubeconfig.read(written(folder / "config", {"tokenFile": "token"}, cluster))
    )


async def test_another_name_in_the_certificate_can_be_asked_for(
    control_plane: Access, tmp_path: Path
) -> None:
    cluster, token = parts(control_plane)
    cluster["tls-server-name"] = "kubernetes.default.svc"
    assert await answers(kubeconfig.read(written(tmp_path / "config", {"token": token}, cluster)))


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def certified(
    authority: Authority, tmp_path_factory: pytest.TempPathFactory, control_plane: Access
) -> Iterator[ControlPlane]:
    """An API server that knows people by certificates of `authority`."""
    if os.environ.get("PILOTAGE_TEST_CONTEXT"):
        pytest.skip("the cluster is somebody's: it takes no certificates of ours")
    folder = tmp_path_factory.mktemp("certified")
    file = folder / "clients.crt"
    file.write_bytes(authority.certificate)

    class Certified(ControlPlane):
        def _api_server_flags(self) -> dict[str, object]:
            return {**super()._api_server_flags(), "client-ca-file": file}

    running = Certified(built(KUBERNETES), folder / "state")
    running._write_files()
    try:
        running.etcd.start()
        running.start_api_server()
        yield running
    finally:
        running.api_server.stop(kill=True)
        running.etcd.stop(kill=True)


async def test_a_client_certificate(
    certified: ControlPlane, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("admin", "system:masters")
    user = {
        "client-certificate-data": base64.b64encode(certificate).decode(),
        "client-key-data": base64.b64encode(key).decode(),
    }
    cluster = {"server": certified.server, "certificate-authority": str(certified.certificate)}
    assert await answers(kubeconfig.read(written(tmp_path / "config", user, cluster)))


async def test_a_plugin_that_prints_a_certificate(
    certified: ControlPlane, authority: Authority, tmp_path: Path
) -> None:
    certificate, key = authority.issue("admin", "system:masters")
    status = {
        "clientCertificateData": certificate.decode(),
        "clientKeyData": key.decode(),
    }
    cluster = {"server": certified.server, "certificate-authority": str(certified.certificate)}
    assert await answers(kubeconfig.read(plugged(tmp_path, status, cluster)))


def plugged(
    folder: Path, status: dict[str, Any], cluster: dict[str, Any], version: str = "v1", **more: Any
) -> Path:
    """A kubeconfig with a credential plugin, which counts in folder/count how often it ran."""
    (folder / "plugin.py").write_text(PLUGIN)
    (folder / "count").write_text("")
    plugin = {
        "apiVersion": f"client.authentication.k8s.io/{version}",
        "command": sys.executable,
        "args": [str(folder / "plugin.py"), str(folder / "count")],
        "env": [{"name": "STATUS", "value": json.dumps(status)}],
        "interactiveMode": "Never",
        **more,
    }
    return written(folder / "config", {"exec": plugin}, cluster)


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_a_plugin_that_prints_a_token(
    control_plane: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    monkeypatch.setenv("MCP_API_KEY", "ours")
    cluster, token = parts(control_plane)
    file = plugged(tmp_path, {"token": token}, cluster, version, provideClusterInfo=True)
    async with Client(kubeconfig.read(file)) as client:
        for _ in range(3):
            await client.get(NAMESPACE, "default")
    assert (tmp_path / "count").read_text() == "1", "once is enough for a token without an end"
    asked = json.loads((tmp_path / "asked.json").read_text())
    assert asked["spec"]["interactive"] is False
    assert asked["spec"]["cluster"]["server"] == cluster["server"]
    seen = json.loads((tmp_path / "environment.json").read_text())
    assert "MCP_API_KEY" not in seen, "our own keys are no business of a plugin"


async def test_a_plugin_is_asked_again_when_its_credential_has_expired(
    control_plane: Access, tmp_path: Path
) -> None:
    cluster, token = parts(control_plane)
    status = {"token": token, "expirationTimestamp": "2001-01-01T00:00:00Z"}
    async with Client(kubeconfig.read(plugged(tmp_path, status, cluster))) as client:
        for _ in range(2):
            await client.get(NAMESPACE, "default")
    assert (tmp_path / "count").read_text() == "2"


async def test_a_plugin_is_asked_again_when_the_server_refuses_its_credential(
    control_plane: Access, tmp_path: Path
) -> None:
    cluster, _ = parts(control_plane)
    async with Client(kubeconfig.read(plugged(tmp_path, {"token": "stale"}, cluster))) as client:
        with pytest.raises(Unauthorized):
            await client.get(NAMESPACE, "default")
    assert (tmp_path / "count").read_text() == "2", "once, and once more after the 401"


async def test_a_plugin_that_fails_says_why(control_plane: Access, tmp_path: Path) -> None:
    cluster, _ = parts(control_plane)
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "false"}
    failing = written(tmp_path / "a", {"exec": plugin}, cluster)
    with pytest.raises(Unavailable, match="the credential plugin false: exit code 1"):
        await answers(kubeconfig.read(failing))
    plugin = {**plugin, "command": "no-such-plugin", "installHint": "brew install it"}
    missing = written(tmp_path / "b", {"exec": plugin}, cluster)
    with pytest.raises(Unavailable, match=r"no-such-plugin.*brew install it"):
        await answers(kubeconfig.read(missing))


async def test_inside_of_a_pod(
    control_plane: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, token = parts(control_plane)
    (tmp_path / "ca.crt").write_bytes(Path(cluster["certificate-authority"]).read_bytes())
    (tmp_path / "token").write_text("expired")
    (tmp_path / "namespace").write_text("mcp-system")
    host, port = cluster["server"].removeprefix("https://").split(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.delenv("KUBECONFIG", raising=False)
    found = kubeconfig.find(account=tmp_path)
    assert (found.name, found.namespace) == ("in-cluster", "mcp-system")
    async with Client(found) as client:
        with pytest.raises(Unauthorized):
            await client.get(NAMESPACE, "default")
        (tmp_path / "token").write_text(token)  # as the kubelet does
        assert await client.get(NAMESPACE, "default"), "read again after the refusal"


async def test_a_token_file_is_read_again_every_minute(tmp_path: Path) -> None:
    file, now = tmp_path / "token", [0.0]
    file.write_text("one")
    credential = TokenFile(file, clock=lambda: now[0])
    assert await credential.header() == "Bearer one"
    file.write_text("two")
    now[0] = 59
    assert await credential.header() == "Bearer one"
    now[0] = 60
    assert await credential.header() == "Bearer two"
    file.unlink()
    now[0] = 120
    assert await credential.header() == "Bearer two", "it may serve a little longer"


def test_a_context_that_is_not_there_is_said_with_those_that_are(control_plane: Access) -> None:
    with pytest.raises(BadInput, match="no context 'prod'") as caught:
        kubeconfig.read(control_plane.kubeconfig, "prod")
    assert "admin" in caught.value.hint
    assert kubeconfig.contexts(control_plane.kubeconfig)[0] == "admin"


def test_several_files_are_one_and_the_first_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = written(tmp_path / "one", {"token": "a"}, {"server": "https://one:6443/"})
    two = written(tmp_path / "two", {"token": "b"}, {"server": "https://two:6443"})
    two.write_text(two.read_text().replace("here", "there").replace("name: c", "name: d"))
    two.write_text(two.read_text().replace("cluster: c", "cluster: d"))
    monkeypatch.setenv("KUBECONFIG", f"{one}:{tmp_path / 'none'}:{two}")
    assert kubeconfig.find().server == "https://one:6443"
    assert kubeconfig.find("there").server == "https://two:6443"


WRONG = {
    "is no kubeconfig": "- a\n- b\n",
    "no current-context": "{apiVersion: v1, kind: Config}",
    "which is not there": (
        "{current-context: x, contexts: [{name: x, context: {cluster: gone, user: u}}]}"
    ),
    "is not base64": (
        "{current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters: "
        "[{name: c, cluster: {server: 'https://x', certificate-authority-data: '!'}}]}"
    ),
    "its proxy-url is": (
        "{current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters: "
        "[{name: c, cluster: {server: 'https://x', proxy-url: 'socks5://y'}}]}"
    ),
    "its server is": (
        "{current-context: x, contexts: [{name: x, context: {cluster: c}}], clusters: "
        "[{name: c, cluster: {server: 'x:6443'}}]}"
    ),
    "auth-provider": (
        "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], clusters: "
        "[{name: c, cluster: {server: 'https://x'}}], users: [{name: u, user: "
        "{auth-provider: {name: gcp}}}]}"
    ),
    "apiVersion": (
        "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], clusters: "
        "[{name: c, cluster: {server: 'https://x'}}], users: [{name: u, user: "
        "{exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: x}}}]}"
    ),
    "holds spaces or line breaks": (
        "{current-context: x, contexts: [{name: x, context: {cluster: c, user: u}}], clusters: "
        "[{name: c, cluster: {server: 'https://x'}}], users: [{name: u, user: "
        '{token: "a\\r\\nX-Evil: 1"}}]}'
    ),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, said: str) -> None:
    file = tmp_path / "config"
    file.write_text(WRONG[said])
    with pytest.raises(BadInput) as caught:
        kubeconfig.read(file)
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_no_secret_shows_in_what_is_printed(control_plane: Access) -> None:
    _, token = parts(control_plane)
    assert token not in repr(kubeconfig.read(control_plane.kubeconfig))
