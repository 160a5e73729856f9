"""What an MCPTool declares, as the tool server takes it."""

from __future__ import annotations

from typing import Any

import pytest

from pilotage.domain.errors import BadInput
from pilotage.operator.definition import Place, schema, wanted
from pilotage.operator.parameters import match

PLACE = Place("prod", "shop", "prices", "0b8b9a5e-uid")
GIVEN = {"type": "object", "properties": {"id": {"type": "integer", "required": True}}}
TAKEN = {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}


def test_the_article_s_required_becomes_a_list_at_any_depth() -> None:
    deep = {
        "type": "object",
        "required": ["there"],
        "properties": {
            "there": {"type": "string"},
            "rows": {"type": "array", "items": GIVEN, "required": False},
            "required": {"type": "boolean", "required": True},
            "one": {"anyOf": [GIVEN, {"type": "null"}]},
        },
        "additionalProperties": False,
    }
    assert schema(deep) == {
        "type": "object",
        "required": ["there", "required"],
        "properties": {
            "there": {"type": "string"},
            "rows": {"type": "array", "items": TAKEN},
            "required": {"type": "boolean"},
            "one": {"anyOf": [TAKEN, {"type": "null"}]},
        },
        "additionalProperties": False,
    }


def test_an_endpoint_of_a_service_is_reached_by_its_name_in_the_cluster() -> None:
    spec: dict[str, Any] = {
        "description": "Show a price.\nIn euros.",
        "parameters": GIVEN,
        "http": {"method": "GET", "service": {"name": "prices", "port": 8080, "path": "/p/{id}"}},
        "timeoutSeconds": 5,
    }
    made = wanted(spec, PLACE)
    assert (made.name, made.kind, made.secrets) == ("shop.prices", "http", ())
    assert made.definition == {
        "method": "GET",
        "url": "http://prices.shop.svc.cluster.local:8080/p/{id}",
        "input_schema": TAKEN,
        "summary": "Show a price.",
        "description": "Show a price.\nIn euros.",
        "timeout": 5,
    }


@pytest.mark.parametrize(
    ("name", "good"),
    [("prices", True), ("shop.prices.eu", True), ("payments.refund", False), ("sho.p", False)],
)
def test_a_name_of_another_namespace_is_refused(name: str, good: bool) -> None:
    spec = {"builtin": "run_list", "name": name}
    if good:
        assert wanted(spec, PLACE).name == name
    else:
        with pytest.raises(BadInput, match="would be a name of the namespace"):
            wanted(spec, PLACE)


def test_a_secret_goes_by_a_name_of_this_object_alone_and_to_its_own_host() -> None:
    header = {
        "name": "Authorization",
        "prefix": "Bearer ",
        "secretKeyRef": {"name": "prices", "key": "token"},
    }
    spec = {"mcp": {"url": "https://mcp.example/mcp", "headers": [header], "prefix": "p_"}}
    made = wanted(spec, PLACE)
    (secret,) = made.secrets
    assert (secret.secret, secret.key, secret.host) == ("prices", "token", "mcp.example:443")
    assert secret.name.startswith("K8S_")
    assert len(secret.name) <= 64
    assert made.definition["headers"] == {
        "Authorization": {"secret": secret.name, "prefix": "Bearer "}
    }
    (other,) = wanted(spec, Place("prod", "shop", "prices", "another-uid")).secrets
    assert other.name != secret.name


@pytest.mark.parametrize("kind", ["http", "mcp"])
@pytest.mark.parametrize(
    ("host", "theirs"),
    [
        ("prices.bank.svc.cluster.local", True),
        ("prices.bank.svc.cluster.local.", True),
        ("PRICES.Bank.SVC.Cluster.Local:8080", True),
        ("prices-0.prices.bank.svc", True),
        ("10-0-0-7.bank.pod.cluster.local", True),
        ("shop.bank.svc.cluster.local", True),
        ("prices.shop.svc.cluster.local", False),
        ("prices-0.prices.shop.svc.cluster.local", False),
        ("bank.svc.example.com", False),
        ("bank.example", False),
    ],
)
def test_a_url_leads_into_no_other_namespace(kind: str, host: str, theirs: bool) -> None:
    more = {"method": "GET"} if kind == "http" else {}
    spec = {"parameters": {}, kind: {"url": f"http://{host}/x", **more}}
    if not theirs:
        assert wanted(spec, PLACE).definition["url"] == f"http://{host}/x"
        return
    with pytest.raises(BadInput, match="is in the namespace bank, and this tool in shop"):
        wanted(spec, PLACE)


@pytest.mark.parametrize("port", ["99999", "-1", "x"])
def test_a_port_that_is_none_is_said_and_breaks_nothing(port: str) -> None:
    header = {"name": "Authorization", "secretKeyRef": {"name": "s", "key": "k"}}
    spec = {"mcp": {"url": f"http://prices.example:{port}/", "headers": [header]}}
    with pytest.raises(BadInput, match="is no URL"):
        wanted(spec, PLACE)


def test_a_filter_of_an_mcp_server_is_handed_on() -> None:
    tools = {"allow": ["get_*"], "rename": [{"from": "get_x", "to": "x"}]}
    spec = {"name": "shop", "mcp": {"url": "http://10.0.0.7:80/mcp", "tools": tools}}
    assert wanted(spec, PLACE).definition == {
        "url": "http://10.0.0.7:80/mcp",
        "allow": ["get_*"],
        "rename": {"get_x": "x"},
        "namespace": "shop",
    }


@pytest.mark.parametrize(
    ("spec", "tool"),
    [
        ({"name": "scan", "builtin": "security_scanner"}, "security_scanner"),
        ({"name": "scan"}, "scan"),
    ],
)
def test_a_built_in_is_named_by_builtin_or_by_the_name_itself(
    spec: dict[str, Any], tool: str
) -> None:
    made = wanted(spec, PLACE)
    assert (made.name, made.kind, made.definition) == ("scan", "builtin", {"tool": tool})


def test_what_names_nothing_that_can_run_says_so() -> None:
    with pytest.raises(BadInput, match="nothing that can run"):
        wanted({"description": "?"}, PLACE)


def test_a_name_that_would_be_too_long_is_named_with_the_mend() -> None:
    with pytest.raises(BadInput, match="longer than") as raised:
        wanted({"builtin": "x"}, Place("prod", "a" * 30, "b" * 30, "uid"))
    assert "spec.name" in raised.value.hint


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"properties": {"id": {"type": "integer", "required": True}}}, ""),
        ({"properties": {"id": {"enum": [1, 2]}}, "required": ["id"]}, ""),
        ({"properties": {"id": {"type": ["string", "null"]}}, "required": ["id"]}, "integer"),
        ({"properties": {"id": {}, "x": {}}, "required": ["id"]}, "it takes no x"),
        ({"properties": {"id": {"type": "integer"}}}, "id, which is not required here"),
        ({}, "it needs id"),
    ],
)
def test_what_a_built_in_takes_is_compared_with_what_is_said_of_it(
    declared: dict[str, Any], said: str
) -> None:
    takes = {
        "properties": {"id": {"anyOf": [{"type": "number"}, {"const": None}]}},
        "required": ["id"],
        "additionalProperties": False,
    }
    if said == "integer":
        takes["properties"] = {"id": {"type": "integer"}}
    told = match(declared, takes)
    assert told.status == ("False" if said else "True")
    assert said in told.message


@pytest.mark.parametrize(
    "declared",
    [
        {"properties": ["limit"]},
        {"properties": {"limit": {"type": 7}}},
        {"properties": {"limit": {"enum": 7, "anyOf": 7}}},
        {"required": True},
        {"required": {"limit": True}},
        {"type": 7, "properties": None},
    ],
)
def test_parameters_that_are_no_schema_are_compared_as_far_as_they_go(declared: Any) -> None:
    takes = {"properties": {"limit": {"type": "integer"}}, "required": ["limit"]}
    assert "it needs limit" in match(declared, takes).message
