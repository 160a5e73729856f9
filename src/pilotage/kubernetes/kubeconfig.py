"""Find a cluster: a kubeconfig's context, or the cluster whose pod we are.

Reading is lightkube's; here is what it leaves open: several files merged as kubectl does, paths
relative to the file that says them, plugins, and errors that name the contexts that there are.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pilotage.domain.errors import BadInput, PilotageError
from pilotage.kubernetes.cluster import Cluster
from pilotage.kubernetes.credentials import Credential, Fixed, Plugin, TokenFile, basic, bearer
from pilotage.kubernetes.tls import Certificate, Trust

if TYPE_CHECKING:
    from lightkube.config.kubeconfig import SingleConfig

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_LISTS = {"clusters": "cluster", "users": "user", "contexts": "context"}
_PATHS = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def find(
    context: str | None = None, kubeconfig: str | Path | None = None, account: Path = ACCOUNT
) -> Cluster:
    """The cluster to talk to: of `kubeconfig`, else of $KUBECONFIG, else (no context asked for, in
    a pod) the one around us, else of ~/.kube/config. BadInput says what is missing."""
    given = str(kubeconfig or os.environ.get("KUBECONFIG") or "")
    if given:
        return read(given, context)
    if context is None and "KUBERNETES_SERVICE_HOST" in os.environ and account.is_dir():
        return inside(account)
    return read(str(Path.home() / ".kube" / "config"), context)


def inside(account: Path = ACCOUNT) -> Cluster:
    """The cluster whose pod we are, by the files of the service account in `account`."""
    from lightkube import ConfigError
    from lightkube.config.kubeconfig import KubeConfig

    try:
        one = KubeConfig.from_service_account(account).get()
        assert one is not None
        authority = (account / "ca.crt").read_bytes()
    except (ConfigError, OSError, KeyError) as error:
        why = f"the pod's service account cannot be read: {error}"
        raise BadInput(why, "a pod has it unless automountServiceAccountToken is false") from None
    credential = TokenFile(account / "token")
    trust = Trust(authority)
    return Cluster("in-cluster", one.cluster.server, credential, trust, one.namespace.strip())


def contexts(kubeconfig: str | Path) -> tuple[str, ...]:
    """The names of the contexts that the files of `kubeconfig` know."""
    return tuple(str(one["name"]) for one in _merged(str(kubeconfig))["contexts"])


def read(kubeconfig: str | Path, context: str | None = None) -> Cluster:
    """The cluster of a context (None: the current one) of a kubeconfig, or of several, parted by
    colons as in $KUBECONFIG."""
    import msgspec
    from lightkube import ConfigError
    from lightkube.config.kubeconfig import KubeConfig

    merged = _merged(str(kubeconfig))
    known = [str(one["name"]) for one in merged["contexts"]]
    name = context or merged.get("current-context")
    if name not in known:
        hint = f"it knows {', '.join(known)}" if known else "it knows none"
        what = f"no context {name!r}" if name else "no current-context"
        raise BadInput(f"{kubeconfig}: {what}", hint)
    try:
        one = KubeConfig.from_dict(merged).get(name)
    except KeyError as error:
        what = f"{kubeconfig}: the context {name} names {error}, which is not there"
        raise BadInput(what, "add it, or take another context") from None
    except (ConfigError, msgspec.ValidationError) as error:
        raise BadInput(f"{kubeconfig}: {error}", "`kubectl config view` shows it") from None
    assert one is not None
    try:
        return _cluster(one, merged)
    except PilotageError as error:
        raise BadInput(f"{kubeconfig}, context {name}: {error.what}", error.hint) from None


def _merged(paths: str) -> dict[str, Any]:
    """All files as one: of what several say, the first counts. BadInput where there is none."""
    merged: dict[str, Any] = {part: [] for part in _LISTS}
    files = [Path(path).expanduser() for path in paths.split(os.pathsep) if path]
    there = [file for file in files if file.is_file()]
    if not there:
        what = f"no kubeconfig at {paths}"
        raise BadInput(what, "name one with $KUBECONFIG; `kubectl config view` shows yours")
    for file in there:
        for part, value in _file(file).items():
            if part in _LISTS:
                known = {one["name"] for one in merged[part]}
                merged[part] += [one for one in value if one["name"] not in known]
            elif value:
                merged.setdefault(part, value)
    return merged


def _file(file: Path) -> dict[str, Any]:
    """One file, its paths made whole."""
    try:
        told = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        for part, inner in _LISTS.items():
            told[part] = [{**one, inner: one.get(inner) or {}} for one in told.get(part) or ()]
            for one in told[part]:
                one["name"] = str(one["name"])
                _whole(one[inner], file.parent.absolute())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError, AttributeError) as e:
        what = f"{file} is no kubeconfig: {type(e).__name__}: {e}"
        raise BadInput(what, "`kubectl config view` shows what is wrong") from None
    return dict(told)


def _whole(inner: dict[str, Any], folder: Path) -> None:
    for key in _PATHS:
        if inner.get(key):
            inner[key] = str(folder / inner[key])
    plugin = inner.get("exec")
    if plugin and "/" in str(plugin.get("command", "")):
        plugin["command"] = str(folder / plugin["command"])


def _cluster(one: SingleConfig, merged: Mapping[str, Any]) -> Cluster:
    raw = _named(merged["clusters"], one.context.cluster, "cluster")
    authority = _pem(one.cluster.certificate_auth_data, one.cluster.certificate_auth)
    for what, url in (("server", one.cluster.server), ("proxy-url", raw.get("proxy-url"))):
        if url is not None and not str(url).startswith(("https://", "http://")):
            raise BadInput(f"its {what} is {url!r}", "it starts with https:// or http://")
    trust = Trust(authority, raw.get("tls-server-name"), one.cluster.insecure)
    return Cluster(
        one.context_name,
        one.cluster.server.rstrip("/"),
        _credential(one, raw, merged),
        trust,
        one.namespace,
        raw.get("proxy-url"),
    )


def _credential(
    one: SingleConfig, cluster: Mapping[str, Any], merged: Mapping[str, Any]
) -> Credential:
    user = one.user
    if user is None:
        return Fixed()
    chain = _pem(user.client_cert_data, user.client_cert)
    key = _pem(user.client_key_data, user.client_key)
    certificate = Certificate(chain, key) if chain and key else None
    if user.auth_provider:
        raise BadInput("its user has an auth-provider", "Kubernetes 1.26 took them out: use exec")
    if user.token_file:
        return TokenFile(Path(user.token_file), certificate)
    if user.token:
        return Fixed(bearer(user.token), certificate)
    if user.username and user.password:
        return Fixed(basic(user.username, user.password), certificate)
    if user.exec:
        raw = _named(merged["users"], one.context.user, "user")["exec"]
        info = {"cluster": _told(cluster)} if raw.get("provideClusterInfo") else {}
        return Plugin(raw, info, certificate)
    return Fixed(None, certificate)


def _told(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """What a plugin hears of the cluster, if it asks for it."""
    keys = ("server", "tls-server-name", "insecure-skip-tls-verify", "proxy-url")
    told = {key: cluster[key] for key in keys if key in cluster}
    data, file = cluster.get("certificate-authority-data"), cluster.get("certificate-authority")
    if authority := _pem(data, file):
        told["certificate-authority-data"] = base64.b64encode(authority).decode("ascii")
    for one in cluster.get("extensions") or ():
        if one.get("name") == "client.authentication.k8s.io/exec":
            told["config"] = one.get("extension")
    return told


def _named(all: list[dict[str, Any]], name: str | None, inner: str) -> dict[str, Any]:
    return next(one[inner] for one in all if one["name"] == name)


def _pem(data: str | None, file: str | None) -> bytes | None:
    if data:
        try:
            return base64.b64decode(data, validate=True)
        except binascii.Error:
            raise BadInput("its certificate data is not base64", "one line, no spaces") from None
    if file:
        try:
            return Path(file).read_bytes()
        except OSError as error:
            why = error.strerror
            raise BadInput(f"{file} cannot be read: {why}", "look at its path") from None
    return None
