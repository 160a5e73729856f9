"""Secrets that a program keeps at the server: whose they may be; nobody reads them back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.conftest import House
from server.test_registration import ask, call, open_house, put, ticket
from upstream.echo import echoing

SECRETS = "/api/v2/secrets"
VALUE = "correct-horse-battery-staple"
ROLES = """
admin: {manage: ["*"], effects: [read, write]}
cluster: {manage: [tools:read, tools:write, "secrets:write:K8S_*"]}
"""


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "roles.yaml").write_text(ROLES)
    async with open_house(home) as opened:
        yield opened


async def test_a_secret_is_kept_replaced_listed_without_its_value_and_forgotten(
    house: House,
) -> None:
    admin, secrets = house.key("admin"), house.app.others.secrets
    at = f"{SECRETS}/TRACKER_TOKEN"
    body = {"value": VALUE, "hosts": ["api.example:8443"]}
    assert (await ask(house, "PUT", at, admin, body))[0] == 204
    assert secrets.value("TRACKER_TOKEN", "https://api.example:8443") == VALUE
    assert (await ask(house, "PUT", at, admin, {**body, "value": VALUE * 2}))[0] == 204
    assert secrets.value("TRACKER_TOKEN", "https://api.example:8443") == VALUE * 2
    status, said, _ = await ask(house, "GET", SECRETS, admin)
    assert (status, said["secrets"][0]["hosts"]) == (200, ["api.example:8443"])
    assert VALUE not in str(said)
    assert (await ask(house, "DELETE", at, admin))[0] == 204
    assert (await ask(house, "DELETE", at, admin))[0] == 404
    trail = [(one.event, one.call) for one in house.app.audit.list()]
    assert trail[:3] == [
        ("secret.removed", "TRACKER_TOKEN"),
        ("secret.kept", "TRACKER_TOKEN"),
        ("secret.kept", "TRACKER_TOKEN"),
    ]
    assert VALUE not in str(house.app.audit.list())


async def test_a_key_may_be_for_some_names_only(house: House) -> None:
    cluster, body = house.key("cluster"), {"value": VALUE, "hosts": ["api.example"]}
    assert (await ask(house, "PUT", f"{SECRETS}/K8S_1", cluster, body))[0] == 204
    status, said, _ = await ask(house, "PUT", f"{SECRETS}/TRACKER_TOKEN", cluster, body)
    assert (status, "secrets:write:TRACKER_TOKEN" in said["error"]) == (403, True)
    assert (await ask(house, "GET", SECRETS, cluster))[0] == 403
    assert (await ask(house, "DELETE", f"{SECRETS}/TRACKER_TOKEN", cluster))[0] == 403


@pytest.mark.parametrize(
    "body",
    [
        {"value": VALUE},
        {"value": VALUE, "hosts": []},
        {"value": "victim-db-01", "hosts": ["api.example"]},
        {"value": "aaaabbbbcccc-dddd", "hosts": ["api.example"]},
        {"value": VALUE, "hosts": ["no host at all"]},
        {"value": VALUE + "\n", "hosts": ["api.example"]},
        {"value": [VALUE], "hosts": ["api.example"]},
        {"value": VALUE, "hosts": ["api.example"], "name": "X"},
    ],
)
async def test_what_cannot_be_kept_is_refused_without_its_value(
    house: House, body: dict[str, object]
) -> None:
    status, said, _ = await ask(house, "PUT", f"{SECRETS}/TRACKER_TOKEN", house.key("admin"), body)
    assert (status, said["success"]) == (400, False)
    assert VALUE not in str(said)
    assert house.app.others.secrets.list() == []


async def test_how_registrations_stand_is_listed_without_what_they_are(house: House) -> None:
    cluster = house.key("cluster")
    for name in ("mine", "yours"):
        body = {"kind": "builtin", "definition": {"tool": "echo"}, "owner": f"prod/{name}/1"}
        assert (await ask(house, "PUT", f"/api/v2/tools/{name}", cluster, body))[0] == 201
    _, said, _ = await ask(house, "GET", "/api/v2/tools?brief=true&owner=prod/mine", cluster)
    (one,) = said["tools"]
    assert (one["name"], one["tools"], one["owner"]) == ("mine", ["mine"], "prod/mine/1")
    assert (one["state"], one["definition"], one["input_schema"]) == ("quarantined", None, None)
    assert one["etag"]


async def test_a_word_that_is_kept_as_a_secret_is_hidden_from_nobody_unseen(house: House) -> None:
    """The redactor as a weapon: what is masked says by which secret, and on record is by whom."""
    admin, attacker, word = (
        house.key("admin"),
        house.key("cluster", name="mallory"),
        "victim-db-eu-01x",
    )
    async with echoing() as echo:
        host = echo.url.removeprefix("http://")
        body = {"value": word, "hosts": [host]}
        assert (await ask(house, "PUT", f"{SECRETS}/K8S_X", attacker, body))[0] == 204
        headers = {"X-Word": {"secret": "K8S_X"}}
        await put(house, "ticket", admin, ticket(echo.url, headers=headers))
        assert (await call(house, "ticket", admin, id=1))[0] == 200
        assert (await call(house, "echo", admin, text=f"drop {word}"))[0] == 200
    await house.app.audit.settled()
    _, found, _ = await ask(house, "GET", "/api/v2/audit?tool=echo&limit=1", admin)
    assert found["entries"][0]["body"]["arguments"] == {"text": "drop [redacted K8S_X]"}
    _, found, _ = await ask(house, "GET", "/api/v2/audit?event=secret.kept", admin)
    (kept,) = found["entries"]
    assert (kept["call"], kept["principal"]) == ("K8S_X", "key:mallory")
