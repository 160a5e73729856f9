"""Attacks on the door itself, over the wire: tokens that are no keys, routes that lend our name to
nobody, pages in somebody's browser, requests that say two things."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pilotage.domain.call import Principal
from server.conftest import House, make_app, running
from server.odd_requests import GOOD, HEADERS, Odd

CALL = "/api/v2/tools/call/"
NOTE: dict[str, Any] = {**GOOD, "params": {**GOOD["params"], "name": "note"}}
RSA = rsa.generate_private_key(65537, 2048)
FORMS = ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signature(algorithm: str, text: bytes) -> bytes:
    if algorithm == "RS256":
        return RSA.sign(text, padding.PKCS1v15(), hashes.SHA256())
    if algorithm == "EdDSA":
        return Ed25519PrivateKey.generate().sign(text)
    if algorithm == "HS256":  # by the public key of a pair, as if it were a shared secret
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        public = RSA.public_key().public_bytes(serialization.Encoding.PEM, form)
        return hmac.new(public, text, hashlib.sha256).digest()
    return b""


def token(algorithm: str, audience: str) -> str:
    """A JWT of somebody who would be an admin, from an issuer that might be ours."""
    head = {"alg": algorithm, "typ": "at+jwt", "kid": "1"}
    claims = {
        "iss": audience,
        "aud": audience,
        "sub": "local:root",
        "roles": ["admin"],
        "scope": "admin tools:call",
        "exp": 4102444800,
    }
    text = ".".join(b64(json.dumps(part).encode()) for part in (head, claims))
    return f"{text}.{b64(signature(algorithm, text.encode()))}"


async def refusals(house: House) -> int:
    await house.app.audit.settled()
    return len(house.app.audit.list(limit=1000, event="refused"))


@pytest.mark.parametrize("scheme", ["Bearer", "DPoP"])
@pytest.mark.parametrize("audience", ["ours", "https://another.example"])
@pytest.mark.parametrize("algorithm", ["none", "NONE", "HS256", "RS256", "EdDSA"])
async def test_a_token_of_another_issuer_resource_or_algorithm_is_no_key(
    house: House, algorithm: str, audience: str, scheme: str
) -> None:
    text = token(algorithm, house.url if audience == "ours" else audience)
    headers = {"Authorization": f"{scheme} {text}"}
    before = await refusals(house)
    asked: list[tuple[str, str, Any, Mapping[str, str]]] = [
        ("POST", CALL + "note", {"text": "x"}, {}),
        ("POST", "/mcp", NOTE, dict(HEADERS) | {"Mcp-Name": "note"}),
        ("GET", "/api/v2/tools", None, {}),
        ("PUT", "/api/v2/tools/mine", {"kind": "builtin", "definition": {"tool": "echo"}}, {}),
        ("GET", "/api/v2/audit", None, {}),
    ]
    for method, path, body, more in asked:
        async with house.session.request(
            method, house.url + path, json=body, headers={**headers, **more}
        ) as answer:
            assert answer.status == 401, path
            assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
            said = await answer.text()
        assert text not in said
        assert text.split(".")[1] not in said
    assert await refusals(house) == before + len(asked)
    assert house.app.audit.calls(limit=10) == [], "nothing ran"
    assert house.app.others.registrations.list() == []


async def test_a_key_in_any_other_place_than_its_header_is_no_key(house: House) -> None:
    key = house.key("admin")
    for path, headers in (
        (f"/api/v2/tools?access_token={key}", {}),
        (f"/api/v2/tools?api_key={key}", {}),
        ("/api/v2/tools", {"Cookie": f"access_token={key}; Authorization=Bearer {key}"}),
        ("/api/v2/tools", {"X-API-Key": key}),
        ("/api/v2/tools", {"Proxy-Authorization": f"Bearer {key}"}),
        ("/api/v2/tools", {"X-Forwarded-User": "local:root"}),
    ):
        async with house.session.get(house.url + path, headers=headers) as answer:
            assert answer.status == 401, (path, headers)


async def test_confused_deputy_no_route_of_oauth_answers(house: House) -> None:
    """We proxy no OAuth: nobody is sent anywhere, nothing is set, no code or state is taken."""
    known = ("oauth-authorization-server", "oauth-protected-resource", "openid-configuration")
    paths = [f"/.well-known/{name}{more}" for name in known for more in ("", "/mcp")]
    paths += ["/authorize", "/token", "/register", "/revoke", "/consent", "/callback", "/login"]
    paths += ["/oauth/authorize", "/oauth/token", "/oauth/callback", "/auth/callback"]
    asked = "response_type=code&client_id=a&state=b&code=c&redirect_uri=https://evil.example/"
    for headers, status in (({}, 401), (house.headers("admin"), 404)):
        for path in paths:
            for method in ("GET", "POST"):
                async with house.session.request(
                    method, f"{house.url}{path}?{asked}", headers=headers, allow_redirects=False
                ) as answer:
                    assert answer.status == status, (method, path)
                    assert not {"Location", "Set-Cookie", "Refresh"} & set(answer.headers)
                    assert "evil.example" not in await answer.text()


async def routes(house: House) -> list[tuple[str, str]]:
    """Every method and path that there is, by the description of the API, and MCP's."""
    async with house.session.get(f"{house.url}/api/v2/openapi.json") as answer:
        paths = (await answer.json())["paths"]
    found = [
        (method.upper(), path.replace("{tool}", "note").replace("{", "").replace("}", ""))
        for path, operations in paths.items()
        for method in operations
    ]
    assert len(found) > 25
    assert ("GET", "/api/v2/runs/run/events") in found
    return [*found, *((["GET", "POST", "DELETE"][n], "/mcp") for n in range(3))]


async def test_no_page_reaches_any_route_by_rebinding_or_across_sites(house: House) -> None:
    headers = house.headers("admin")
    for method, path in await routes(house):
        for expected, more in (
            (421, {"Host": "evil.example"}),
            (421, {"Host": "localhost.evil.example:80"}),
            (403, {"Origin": "https://evil.example"}),
            (403, {"Origin": "null"}),
            (403, {"Origin": "http://localhost.evil.example"}),
            (403, {"Origin": "http://localhost@evil.example"}),
            (421, {"Host": "evil.example", "X-Forwarded-Host": "localhost"}),
        ):
            async with house.session.request(
                method, house.url + path, json={}, headers={**headers, **more}
            ) as answer:
                assert answer.status == expected, (method, path, more)
        preflight = {"Origin": "http://localhost:1", "Access-Control-Request-Method": method}
        async with house.session.options(house.url + path, headers=preflight) as answer:
            assert not [name for name in answer.headers if name.startswith("Access-Control")]
    assert house.app.audit.calls(limit=10) == []


async def test_a_form_of_a_page_is_no_request_on_any_route(house: House) -> None:
    """With a key, and on a machine where the local user needs none."""
    headers = house.headers("admin")
    body = b'{"text": "x"}'
    for method, path in await routes(house):
        if method not in ("POST", "PUT"):
            continue
        for kind in FORMS:
            more = {**dict(HEADERS), **headers, "Content-Type": kind}
            async with house.session.request(
                method, house.url + path, data=body, headers=more
            ) as answer:
                assert answer.status in (400, 415), (method, path, kind)
                assert answer.status == 415 or path == "/mcp"
    assert house.app.audit.calls(limit=10) == []


async def test_a_page_gets_nothing_done_where_no_key_is_needed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    app = make_app(tmp_path / "home", tmp_path / "root")
    try:
        async with running(app, Principal("local:anybody", frozenset({"developer"}))) as house:
            for headers, status in (
                ({"Origin": "https://evil.example"}, 403),
                ({"Content-Type": "text/plain"}, 415),
                ({"Host": "evil.example"}, 421),
            ):
                async with house.session.post(
                    house.url + CALL + "note", data=b'{"text": "x"}', headers=headers
                ) as answer:
                    assert answer.status == status
            assert house.app.audit.calls(limit=10) == []
    finally:
        app.close()


async def sent(house: House, odd: Odd, key: str) -> tuple[int, str]:
    """One request, byte for byte."""
    port = int(house.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = odd.raw(key).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)
    writer.write(request)
    answer = (await reader.read()).decode()
    writer.close()
    return int(answer.split()[1]), answer


def headers_with(**changed: str | None) -> tuple[tuple[str, str], ...]:
    names = {name.replace("_", "-"): value for name, value in changed.items()}
    kept = [(name, value) for name, value in HEADERS if name not in names]
    return (*kept, *((name, value) for name, value in names.items() if value is not None))


@pytest.mark.parametrize(
    "headers",
    [
        headers_with(),
        headers_with(Mcp_Name=None),
        headers_with(Mcp_Name="ECHO"),
        headers_with(Mcp_Name="=?base64?ZWNobw==?="),
        headers_with(Mcp_Method="tools/list"),
        headers_with(Mcp_Method="tools/list", Mcp_Name=None),
        (*HEADERS, ("Mcp-Name", "note")),
        (("Mcp-Name", "note"), *HEADERS),
        (*headers_with(Mcp_Name="note"), ("Mcp-Name", "echo")),
        (*headers_with(Mcp_Name="note"), ("Mcp-Name", "note")),
        (*headers_with(Mcp_Name="note"), ("Mcp-Method", "tools/call")),
        (*headers_with(Mcp_Name="note"), ("Mcp-Method", "tools/list")),
        (*headers_with(Mcp_Name="note"), ("MCP-Protocol-Version", "2025-06-18")),
    ],
)
async def test_a_header_that_says_echo_runs_no_other_tool(
    house: House, headers: tuple[tuple[str, str], ...]
) -> None:
    """The header that a proxy would judge by names `echo`, or two things; the body says `note`."""
    odd = Odd("mismatch", headers, json.dumps(NOTE).encode())
    status, answer = await sent(house, odd, house.key("developer"))
    assert status == 400, answer
    assert "-32020" in answer or "more than once" in answer, answer
    await house.app.audit.settled()
    assert house.app.audit.calls(limit=10) == []


async def test_a_header_and_a_body_that_agree_run_it(house: House) -> None:
    odd = Odd("good", headers_with(Mcp_Name="note"), json.dumps(NOTE).encode())
    status, answer = await sent(house, odd, house.key("developer"))
    assert status == 200, answer
    await house.app.audit.settled()
    assert [one.tool for one in house.app.audit.calls(limit=10)] == ["note"]


@pytest.mark.parametrize(
    "more",
    [
        {"command": ["sh", "-c", "touch {mark}"]},
        {"command": "touch {mark}; true"},
        {"command": ["$(touch {mark})"]},
        {"command": ["true"], "environment": {"LD_PRELOAD": "{mark}"}},
        {"url": "https://example.com/mcp", "command": ["touch", "{mark}"]},
        {"url": "https://example.com/mcp", "environment": {"NODE_OPTIONS": "--require {mark}"}},
        {"url": "stdio:touch {mark}"},
        {"url": "file://{mark}"},
    ],
)
async def test_over_the_wire_nobody_names_a_program(
    house: House, tmp_path: Path, more: dict[str, Any]
) -> None:
    """Only the settings file of the administrator may; not even an admin's key."""
    mark = tmp_path / "mark"
    definition = json.loads(json.dumps(more).replace("{mark}", str(mark)))
    body = {"kind": "mcp", "definition": definition}
    async with house.session.put(
        house.url + "/api/v2/tools/evil", json=body, headers=house.headers("admin")
    ) as answer:
        assert answer.status in (400, 403), await answer.text()
        assert (await answer.json())["error"]
    assert house.app.others.registrations.list() == []
    assert house.app.others.federation.standings() == []
    assert not mark.exists()
