"""What an MCPTool declares, as the tool server takes it: kind and definition. Pure.

Source of the shapes: deploy/crds/mcptools.yaml; docs/guides/your-http-api.md, federate.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pilotage.domain.errors import BadInput
from pilotage.domain.registration import NAME_LIMIT, check_name
from pilotage.kubernetes.depth import deeper
from pilotage.kubernetes.hosts import elsewhere
from pilotage.kubernetes.kind import there
from pilotage.operator.runtime.store import HEAVY, LEFT_OUT

SECRETS = "K8S_"
"""How the names of secrets begin that the operator keeps at the tool server."""
DEPTH = 60
"""Less than what is cut off when an object is read (kubernetes/depth.py)."""
_PORTS = {"https": 443, "http": 80}
_WITH_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_WITH_SCHEMA = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_WITH_LIST = ("anyOf", "oneOf", "allOf", "prefixItems")


@dataclass(frozen=True, slots=True)
class SecretRef:
    """A key of a Secret of the object's own namespace, and where its value goes at the tool server:
    under `name`, to `host` (host:port) alone."""

    secret: str
    key: str
    name: str
    host: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be registered as `name`."""

    name: str
    kind: str
    definition: Mapping[str, Any]
    secrets: tuple[SecretRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object stands: what makes its names, its addresses and its secrets its own."""

    cluster: str
    namespace: str
    name: str
    uid: str
    domain: str = "cluster.local"


def check_bounds(spec: Mapping[str, Any]) -> None:
    """BadInput: nobody means what is nested so deep, and what reads it may not come to its end; and
    what is so large was not kept."""
    for name, part in spec.items():
        if part == LEFT_OUT:
            what = f"spec.{name} is too large for an object of more than {HEAVY >> 10} KiB"
            raise BadInput(what, "make the object smaller")
    if deeper(spec, DEPTH):
        raise BadInput(f"the spec is nested deeper than {DEPTH} levels", "write it flatter")


def registered_name(spec: Mapping[str, Any], place: Place) -> str:
    """The name at the server: spec.name, else NAMESPACE.NAME. BadInput where that is too long, or
    would be one of another namespace."""
    name = spec.get("name") or f"{place.namespace}.{place.name}"
    if len(name) > NAME_LIMIT:
        what = f"{name} is longer than the {NAME_LIMIT} characters that the name of a tool has"
        raise BadInput(what, "make it anew with a shorter spec.name")
    check_name(name)
    before, dot, _ = name.partition(".")
    if dot and before != place.namespace:
        what = f"{name} would be a name of the namespace {before}"
        hint = f"make it anew with a name that has no dot, or begins with {place.namespace}."
        raise BadInput(what, hint)
    return str(name)


def wanted(spec: Mapping[str, Any], place: Place) -> Wanted:
    """What an MCPTool asks for. BadInput where it asks for nothing that can run."""
    check_bounds(spec)
    name = registered_name(spec, place)
    if "http" in spec:
        return _http(name, spec, place)
    if "mcp" in spec:
        return mcp(name, spec["mcp"], spec.get("timeoutSeconds"), place)
    tool = spec.get("builtin") or spec.get("name")
    if not tool:
        raise BadInput(
            "it names nothing that can run",
            "spec.builtin, spec.http, spec.mcp, or in spec.name a built-in",
        )
    given = {
        "tool": tool,
        "summary": spec.get("description"),
        "timeout": spec.get("timeoutSeconds"),
    }
    return Wanted(name, "builtin", there(given))


def mcp(name: str, given: Mapping[str, Any], timeout: Any, place: Place) -> Wanted:
    """An MCP server whose tools are taken in, as spec.mcp has it."""
    url = _url(given, place)
    headers, secrets = _headers(given.get("headers", ()), url, place)
    tools = given.get("tools", {})
    rename = {one["from"]: one["to"] for one in tools.get("rename", ())}
    definition = {
        "url": url,
        "headers": headers or None,
        "prefix": given.get("prefix"),
        "namespace": place.namespace,
        "allow": tools.get("allow"),
        "rename": rename or None,
        "effects": given.get("effects"),
        "refresh": given.get("refresh"),
        "timeout": timeout,
    }
    return Wanted(name, "mcp", there(definition), secrets)


def _http(name: str, spec: Mapping[str, Any], place: Place) -> Wanted:
    given = spec["http"]
    url = _url(given, place)
    headers, secrets = _headers(given.get("headers", ()), url, place)
    result = spec.get("result")
    definition = {
        "method": given["method"],
        "url": url,
        "headers": headers or None,
        "input_schema": schema(spec["parameters"]),
        "output_schema": schema(result) if result else None,
        "summary": spec.get("description", "").split("\n", 1)[0][:200] or None,
        "description": spec.get("description"),
        "effect": given.get("effect"),
        "idempotent": given.get("idempotent"),
        "retries": given.get("retries"),
        "cache_seconds": given.get("cacheSeconds"),
        "timeout": spec.get("timeoutSeconds"),
    }
    return Wanted(name, "http", there(definition), secrets)


def _url(given: Mapping[str, Any], place: Place) -> str:
    if "url" in given:
        _check_own(str(given["url"]), place)
        return str(given["url"])
    service = given["service"]
    host = f"{service['name']}.{place.namespace}.svc.{place.domain}"
    return f"{service.get('scheme', 'http')}://{host}:{service['port']}{service.get('path', '/')}"


def _check_own(url: str, place: Place) -> None:
    """BadInput for what is inside of the cluster and another namespace's. The server calls for all
    of them, and is let in by each: who may declare a tool here reaches nothing there through it."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return  # the server says what is wrong with it
    if whose := elsewhere(host, place.namespace, place.domain):
        what = f"{host} is in the namespace {whose}, and this tool in {place.namespace}"
        raise BadInput(what, f"declare the tool in {whose}")


def _headers(given: Any, url: str, place: Place) -> tuple[dict[str, Any], tuple[SecretRef, ...]]:
    headers: dict[str, Any] = {}
    secrets = []
    for one in given:
        if "secretKeyRef" in one:
            secret = _secret(one["secretKeyRef"], url, place)
            secrets.append(secret)
            headers[one["name"]] = there({"secret": secret.name, "prefix": one.get("prefix")})
        else:
            headers[one["name"]] = one["value"]
    return headers, tuple(secrets)


def _secret(ref: Mapping[str, Any], url: str, place: Place) -> SecretRef:
    """Its name at the server is made of the object's UID, so that no other object can name it."""
    parts = urlsplit(url)
    try:
        host = f"{parts.hostname}:{parts.port or _PORTS[parts.scheme]}"
    except ValueError as error:
        raise BadInput(f"{url[:200]} is no URL: {error}", "https://host:port/path") from None
    name = own_secrets(place) + _digest(ref["name"], ref["key"], host)
    return SecretRef(ref["name"], ref["key"], name, host)


def own_secrets(place: Place) -> str:
    """How the names of all secrets of one object begin at the server, and those of no other."""
    return f"{SECRETS}{_digest(place.cluster, place.uid)}_"


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:26].upper()


def schema(given: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON Schema in which `required` is a list. The article writes `required: true` into the
    properties themselves; that is moved to where it belongs, at any depth."""
    made = dict(given)
    for word in _WITH_SCHEMAS:
        if isinstance(made.get(word), Mapping):
            made[word] = {name: _below(one) for name, one in made[word].items()}
    for word in _WITH_SCHEMA:
        if word in made:
            made[word] = _below(made[word])
    for word in _WITH_LIST:
        if isinstance(made.get(word), list):
            made[word] = [_below(one) for one in made[word]]
    names = list(_required(given))
    listed = made.get("required")
    if isinstance(listed, list):
        names = [*listed, *(name for name in names if name not in listed)]
    if names:
        made["required"] = names
    return made


def _below(one: Any) -> Any:
    """A schema within another: its own `required: true` was read by that one."""
    if not isinstance(one, Mapping):
        return one
    if isinstance(one.get("required"), bool):
        one = {key: value for key, value in one.items() if key != "required"}
    return schema(one)


def _required(given: Mapping[str, Any]) -> Iterator[str]:
    properties = given.get("properties")
    if isinstance(properties, Mapping):
        for name, one in properties.items():
            if isinstance(one, Mapping) and one.get("required") is True:
                yield name
