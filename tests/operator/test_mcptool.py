"""MCPTools become tools of the server: on a real API server, by the operator's own rights."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import yaml

from article import appendix_c
from operator_rig import CLUSTER, Rig, until

CANARY = "canary-7f3a9c-never-to-be-seen"
PRICE: dict[str, Any] = {"type": "object", "properties": {"id": {"type": "integer"}}}
OURS = "mcp.example.com/unregister"


class Prices(ThreadingHTTPServer):
    """An HTTP API that remembers which Authorization reached it."""

    seen: list[str]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Prices)
        self.server.seen.append(self.headers["Authorization"] or "")
        body = json.dumps({"path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def prices() -> Iterator[Prices]:
    server = Prices(("127.0.0.1", 0), Handler)
    server.seen = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def endpoint(server: Prices, path: str = "/prices", **more: Any) -> dict[str, Any]:
    url = f"http://127.0.0.1:{server.server_port}{path}"
    return {
        "description": "Show a price.",
        "parameters": {"type": "object"},
        "http": {"method": "GET", "url": url, **more},
    }


def test_the_article_s_manifest_applies_unchanged_and_its_tool_works(rig: Rig) -> None:
    """Appendix C: accepted, Ready, and does what it says on real objects, each as what it is."""
    manifest = yaml.safe_load(appendix_c())
    manifest["metadata"]["namespace"] = rig.namespace  # it says default, which is everybody's
    rig.apply_object(manifest)
    said = rig.wait("mcptool", "example-mcptool", "Ready")
    assert said["message"] == "k8s_resource_manager can be called"
    rig.wait("mcptool", "example-mcptool", "Match", type="ParametersMatch")
    tool = "k8s_resource_manager"
    here = {"namespace": rig.namespace}
    box = {"resource_type": "configmap", "name": "box", **here}
    made = rig.house.call(tool, action="create", manifest={"data": {"a": "1"}}, **box)
    assert (made["success"], made["resource"]["data"]) == (True, {"a": "1"})
    got = rig.house.call(tool, action="get", **box)
    assert got["resource"]["metadata"]["uid"] == made["resource"]["metadata"]["uid"]
    changed = rig.house.call(tool, action="update", manifest={"data": {"a": "2"}}, **box)
    assert changed["resource"]["data"] == {"a": "2"}
    late = rig.house.call(
        tool,
        action="update",
        manifest={"data": {"a": "3"}},
        resource_version=made["version"],
        **box,
    )
    assert not late["success"]
    assert "the object has been modified" in late["error"]
    listed = rig.house.call(tool, action="list", resource_type="cm", **here)
    assert "box" in [one["name"] for one in listed["resources"]]
    asked = rig.house.call(tool, action="delete", **box)
    assert asked["approval"]["state"] == "pending"  # it destroys: a person is asked
    assert rig.get("configmap", "box") is not None
    secrets = rig.house.call(tool, action="list", resource_type="secrets", **here)
    assert "are not for tools" in secrets["error"]


def test_parameters_that_a_built_in_does_not_take_are_named(rig: Rig) -> None:
    properties = {"limit": {"type": "string"}, "namespace": {"type": "string", "required": True}}
    spec = {"builtin": "run_list", "parameters": {"type": "object", "properties": properties}}
    rig.apply("MCPTool", "runs", spec)
    rig.wait("mcptool", "runs", "Ready")  # it can be called, as it really is
    said = rig.wait("mcptool", "runs", "Differ", type="ParametersMatch")
    assert said["status"] == "False"
    assert "limit is of the type integer, not string" in said["message"]
    assert "it takes no namespace" in said["message"]
    spec["parameters"] = {"type": "object", "properties": {"limit": {"type": "integer"}}}
    rig.apply("MCPTool", "runs", spec)
    assert rig.wait("mcptool", "runs", "Match", type="ParametersMatch")["status"] == "True"


def test_an_endpoint_is_registered_changed_and_gone_with_its_object(rig: Rig) -> None:
    with prices() as server:
        rig.apply("MCPTool", "prices", endpoint(server))
        rig.wait("mcptool", "prices", "Ready")
        name = f"{rig.namespace}.prices"
        assert rig.house.call(name)["result"] == {"path": "/prices"}
        rig.apply("MCPTool", "prices", endpoint(server, "/v2/prices"))
        rig.wait("mcptool", "prices", "Ready")
        assert rig.house.call(name)["result"] == {"path": "/v2/prices"}
        rig.kubectl("delete", "mcptool", "prices", "--timeout=60s")
        assert rig.house.registered(name) is None


def test_a_tool_that_names_nothing_that_can_run_is_not_ready_and_says_so(rig: Rig) -> None:
    rig.apply("MCPTool", "nothing", {"description": "?"})
    said = rig.wait("mcptool", "nothing", "InvalidSpec")
    assert (said["status"], "nothing that can run" in said["message"]) == ("False", True)
    rig.apply("MCPTool", "unknown", {"name": "no_such_tool"})
    said = rig.wait("mcptool", "unknown", "InvalidSpec")
    assert "no built-in tool 'no_such_tool' (there are " in said["message"]
    rig.apply("MCPTool", "slip", {"builtin": "security_scaner"})
    said = rig.wait("mcptool", "slip", "InvalidSpec")
    assert "did you mean security_scanner?" in said["message"]
    rig.apply("MCPTool", "foreign", {"mcp": {"url": "http://api.bank.svc.cluster.local/mcp"}})
    assert "in the namespace bank" in rig.wait("mcptool", "foreign", "InvalidSpec")["message"]
    assert rig.house.registered(f"{rig.namespace}.foreign") is None


def test_a_name_of_a_built_in_is_for_that_one_alone(rig: Rig) -> None:
    """Also of one that nobody offers yet: its callers, and the policy's rules, would mean it."""
    with prices() as server:
        rig.apply("MCPTool", "thief", {"name": "k8s_resource_manager", **endpoint(server)})
        said = rig.wait("mcptool", "thief", "NameTaken")
    assert "is the name of a tool of pilotage's own" in said["message"]
    rig.apply("MCPTool", "mask", {"name": "k8s_resource_manager", "builtin": "run_list"})
    said = rig.wait("mcptool", "mask", "NameTaken")
    assert "another tool of pilotage's own than run_list" in said["message"]
    rig.apply("MCPTool", "own", {"name": "k8s_resource_manager"})
    rig.wait("mcptool", "own", "Ready")


def test_an_object_whose_name_is_somebody_elses_by_now_goes_at_once(rig: Rig) -> None:
    rig.apply("MCPTool", "mine", {"name": "shared", "builtin": "run_list"})
    rig.wait("mcptool", "mine", "Ready")
    rig.operators.pop().stop()
    assert rig.house.ask("DELETE", "/api/v2/tools/shared")[0] == 204
    theirs = {"kind": "builtin", "definition": {"tool": "security_scanner"}}
    assert rig.house.ask("PUT", "/api/v2/tools/shared", theirs)[0] == 201
    rig.kubectl("delete", "mcptool", "mine", "--wait=false")
    rig.operate()
    rig.kubectl("wait", "--for=delete", "mcptool/mine", "--timeout=30s")
    there = rig.house.registered("shared")
    assert there is not None
    assert there["definition"]["tool"] == "security_scanner"


def test_the_key_of_the_operator_goes_to_no_tool(rig: Rig) -> None:
    rig.secret("mine", key=rig.house.keys["cluster"])
    ref = {"name": "Authorization", "secretKeyRef": {"name": "mine", "key": "key"}}
    with prices() as server:
        rig.apply("MCPTool", "steal", endpoint(server, headers=[ref]))
        assert "own key" in rig.wait("mcptool", "steal", "SecretMissing")["message"]
        assert rig.house.registered(f"{rig.namespace}.steal") is None


def test_the_secret_of_the_operators_key_goes_to_no_tool_whatever_is_in_it(rig: Rig) -> None:
    """It may hold the next key already, which the operator does not know before it starts anew."""
    rig.operators.pop().stop()
    rig.operate("--key-secret", "operator-key", "--server-namespace", rig.namespace)
    rig.secret("operator-key", key="the next one of them all")
    ref = {"name": "Authorization", "secretKeyRef": {"name": "operator-key", "key": "key"}}
    with prices() as server:
        rig.apply("MCPTool", "early", endpoint(server, headers=[ref]))
        assert "own key" in rig.wait("mcptool", "early", "SecretMissing")["message"]


def test_two_objects_cannot_have_one_name_and_the_second_waits_for_it(rig: Rig) -> None:
    rig.apply("MCPTool", "first", {"name": "scan", "builtin": "security_scanner"})
    rig.wait("mcptool", "first", "Ready")
    rig.apply("MCPTool", "second", {"name": "scan", "builtin": "code_quality_checker"})
    said = rig.wait("mcptool", "second", "NameTaken")["message"]
    assert f"is owned by MCPTool {rig.namespace}/first" in said
    view = rig.house.registered("scan")
    assert view is not None
    assert view["definition"]["tool"] == "security_scanner"


def test_what_is_registered_from_when_the_cluster_had_another_name_is_told_apart(rig: Rig) -> None:
    rig.apply("MCPTool", "renamed", {"builtin": "run_list"})
    rig.wait("mcptool", "renamed", "Ready")
    rig.operators[0].stop()
    rig.operate("--cluster-name", "other")
    said = rig.wait("mcptool", "renamed", "NameTaken")["message"]
    assert f"of this very object, as one of the cluster {CLUSTER}" in said
    assert f"pilotage tools remove {rig.namespace}.renamed" in said


def test_nobody_calls_it_while_it_is_suspended(rig: Rig) -> None:
    with prices() as server:
        rig.apply("MCPTool", "prices", endpoint(server))
        rig.wait("mcptool", "prices", "Ready")
        rig.kubectl("patch", "mcptool", "prices", "--type=merge", '-p={"spec":{"suspend":true}}')
        rig.wait("mcptool", "prices", "Suspended")
        assert "is disabled" in rig.house.call(f"{rig.namespace}.prices")["error"]
        rig.kubectl("patch", "mcptool", "prices", "--type=merge", '-p={"spec":{"suspend":false}}')
        rig.wait("mcptool", "prices", "Ready")
        assert rig.house.call(f"{rig.namespace}.prices")["success"]


def test_what_an_administrator_has_disabled_stays_so_and_is_said(rig: Rig) -> None:
    with prices() as server:
        rig.operators[0].stop()
        rig.operate()
        rig.apply("MCPTool", "prices", endpoint(server))
        rig.wait("mcptool", "prices", "Ready")
        assert rig.house.ask("POST", f"/api/v2/tools/{rig.namespace}.prices/disable", {})[0] == 200
        rig.wait("mcptool", "prices", "Disabled")


def test_what_an_administrator_has_disabled_as_well_is_not_resumed(rig: Rig) -> None:
    with prices() as server:
        rig.operators[0].stop()
        rig.operate()
        rig.apply("MCPTool", "prices", {**endpoint(server), "suspend": True})
        rig.wait("mcptool", "prices", "Suspended")
        path = f"/api/v2/tools/{rig.namespace}.prices"
        assert rig.house.ask("POST", f"{path}/disable", {})[0] == 200
        rig.kubectl("patch", "mcptool", "prices", "--type=merge", '-p={"spec":{"suspend":false}}')
        assert "disabled by" in rig.wait("mcptool", "prices", "Disabled")["message"]
        assert rig.house.ask("GET", path)[1]["enabled"] is False


def test_a_finalizer_that_a_copy_has_brought_along_goes_as_well(rig: Rig) -> None:
    """`kubectl get -o yaml`, delete, apply: then kubectl owns it, and ours of before is gone."""
    rig.apply("MCPTool", "back", {"builtin": "run_list"}, finalizers=[OURS, "a.example/b"])
    rig.wait("mcptool", "back", "Ready")
    rig.kubectl("delete", "mcptool", "back", "--wait=false")
    until(lambda: rig.house.registered(f"{rig.namespace}.back") is None, "its end")
    left = until(lambda: OURS not in (found := finalizers(rig, "back")) and found, "its end")
    assert left == ["a.example/b"], "that of others stays"
    rig.kubectl("patch", "mcptool", "back", "--type=merge", '-p={"metadata":{"finalizers":null}}')
    assert until(lambda: rig.get("mcptool", "back") is None)


def finalizers(rig: Rig, name: str) -> list[str]:
    found = rig.get("mcptool", name) or {"metadata": {}}
    return list(found["metadata"].get("finalizers", ()))


def test_an_orphan_stays_at_the_server(rig: Rig) -> None:
    with prices() as server:
        rig.apply("MCPTool", "prices", {**endpoint(server), "deletionPolicy": "Orphan"})
        rig.wait("mcptool", "prices", "Ready")
        rig.kubectl("delete", "mcptool", "prices", "--timeout=60s")
        said = rig.house.call(f"{rig.namespace}.prices")
        assert said["success"], said


def test_a_secret_reaches_its_host_alone_and_a_new_value_follows(rig: Rig) -> None:
    """Rotation; and the value is in no object, event, log or answer."""
    with prices() as server:
        rig.secret("prices", token=CANARY)
        ref = {"name": "prices", "key": "token"}
        header = {"name": "Authorization", "prefix": "Bearer ", "secretKeyRef": ref}
        rig.apply("MCPTool", "prices", endpoint(server, headers=[header]))
        rig.wait("mcptool", "prices", "Ready")
        name = f"{rig.namespace}.prices"
        assert rig.house.call(name)["success"]
        assert server.seen[-1] == f"Bearer {CANARY}"
        rig.secret("prices", token=CANARY + "-2")
        until(lambda: rig.house.call(name) and server.seen[-1] == f"Bearer {CANARY}-2", "rotation")
        everything = rig.kubectl("get", "mcptools,events", "-o", "yaml")
        everything += rig.operators[0].log.read_text() + rig.house.program.log.read_text()
        everything += json.dumps(rig.house.ask("GET", f"/api/v2/tools/{name}")[1])
        everything += json.dumps(rig.house.ask("GET", "/api/v2/audit")[1])
        for shape in (CANARY, base64.b64encode(CANARY.encode()).decode().rstrip("=")[:20]):
            assert shape not in everything
        rig.kubectl("delete", "mcptool", "prices", "--timeout=60s")
        assert rig.house.ask("GET", "/api/v2/secrets")[1]["secrets"] == []


def test_a_status_that_names_the_secret_of_another_takes_it_from_nobody(rig: Rig) -> None:
    """Whoever may write the status of one object must not end the tools of others by that."""
    with prices() as server:
        rig.secret("prices", token=CANARY)
        header = {"name": "X-Token", "secretKeyRef": {"name": "prices", "key": "token"}}
        for name in ("theirs", "forged"):
            rig.apply("MCPTool", name, endpoint(server, headers=[header]))
            rig.wait("mcptool", name, "Ready")
        theirs = rig.get("mcptool", "theirs")["status"]["secrets"]  # type: ignore[index]
        forged = json.dumps({"status": {"secrets": theirs, "toolName": f"{rig.namespace}.theirs"}})
        argv = ("patch", "mcptool", "forged", "--subresource=status", "--type=merge")
        rig.kubectl(*argv, "-p", forged)
        rig.kubectl("delete", "mcptool", "forged", "--timeout=30s")
        assert rig.house.call(f"{rig.namespace}.theirs")["success"]
        kept = [one["name"] for one in rig.house.ask("GET", "/api/v2/secrets")[1]["secrets"]]
        assert set(theirs) <= set(kept)
        assert rig.house.registered(f"{rig.namespace}.forged") is None


def test_a_secret_that_comes_later_is_found(rig: Rig) -> None:
    with prices() as server:
        header = {"name": "X-Token", "secretKeyRef": {"name": "late", "key": "token"}}
        rig.apply("MCPTool", "prices", endpoint(server, headers=[header]))
        assert "no Secret late" in rig.wait("mcptool", "prices", "SecretMissing")["message"]
        rig.secret("late", token=CANARY)
        rig.wait("mcptool", "prices", "Ready")
