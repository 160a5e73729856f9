"""POST /api/v2/tools/call/{tool} and the management API, over a real socket."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path
from typing import Any

import pytest

from pilotage.app import local_principal
from pilotage.server import watch
from pilotage.server.http import BODY_LIMIT
from server.conftest import House
from waiting import LONG, until

CALL = "/api/v2/tools/call/"


async def call(
    house: House, tool: str, body: Any = None, headers: dict[str, str] | None = None, **more: Any
) -> tuple[int, dict[str, Any]]:
    given = more if more else {"json": {} if body is None else body}
    async with house.session.post(house.url + CALL + tool, headers=headers, **given) as answer:
        assert answer.content_type == "application/json"
        return answer.status, json.loads(await answer.read())


async def newest_entry(house: House) -> Any:
    await house.app.audit.settled()
    return house.app.audit.list(limit=1)[0]


async def test_a_tool_answers_with_its_own_fields(house: House) -> None:
    status, answer = await call(house, "echo", {"text": "hi"}, house.headers("developer"))
    assert (status, answer) == (200, {"success": True, "outcome": "succeeded", "said": "hi"})


async def test_arguments_that_do_not_count_are_named(house: House) -> None:
    given = {"text": "hi", "scan_depth": "full"}
    status, answer = await call(house, "lenient", given, house.headers("developer"))
    assert status == 200
    assert answer["ignored_arguments"] == ["scan_depth"]
    assert answer["warnings"] == ["unknown argument 'scan_depth' is ignored"]
    status, answer = await call(house, "echo", given, house.headers("developer"))
    assert (status, answer["success"]) == (400, False)
    assert "scan_depth" in answer["error"]


async def test_a_flood_without_a_key_is_counted_and_does_not_fill_the_disk(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotage.server.access.FLOOD", 3)
    monkeypatch.setattr("pilotage.server.access.FLOOD_SECONDS", 3600.0)
    for number in range(10):
        path = "/mcp" if number == 9 else CALL + "echo"
        async with house.session.post(house.url + path, json={}) as answer:
            assert answer.status == 401
    await house.front.drain(1)
    await house.app.audit.settled()
    rows = reversed(house.app.audit.list(event="refused"))
    told = [(row.tool, row.body["via"], row.body["error"]) for row in rows]
    assert told[:3] == [("echo", "rest", "there is no API key")] * 3
    assert sorted(told[3:]) == [
        ("", "mcp", "1 more without a good key were turned away"),
        ("", "rest", "6 more without a good key were turned away"),
    ]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (None, "there is no API key"),
        ("plt_never_made", "not known"),
        ("expired", "has expired"),
        ("revoked", "is revoked"),
    ],
)
async def test_without_a_good_key_nothing_runs_and_the_audit_knows(
    house: House, given: str | None, why: str
) -> None:
    keys = house.app.keys
    texts = {
        "expired": keys.create("expired", ("developer",), seconds=-1, by=local_principal())[1],
        "revoked": house.key("developer", name="revoked"),
    }
    keys.revoke("revoked", by=local_principal())
    headers = {"Authorization": f"Bearer {texts.get(given, given)}"} if given else {}
    async with house.session.post(
        house.url + CALL + "echo", json={"text": "hi"}, headers=headers
    ) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        body = await answer.json()
    assert body["success"] is False
    assert why in body["error"]
    entry = await newest_entry(house)
    assert (entry.event, entry.tool) == ("refused", "echo")
    assert why in entry.body["error"]
    assert house.app.audit.calls() == []


@pytest.mark.parametrize(
    ("roles", "tools", "tool", "why"),
    [
        (("viewer",), ("*",), "echo", "no rule lets"),
        (("developer",), ("*",), "wreck", "no rule lets"),
        (("admin",), ("*",), "wreck", "waits for a person"),
        (("developer",), ("no*",), "echo", "may call no* only"),
    ],
)
async def test_a_role_or_a_glob_that_does_not_fit_is_denied_on_record(
    house: House, roles: tuple[str, ...], tools: tuple[str, ...], tool: str, why: str
) -> None:
    headers = {"Authorization": f"Bearer {house.key(*roles, tools=tools)}"}
    status, answer = await call(house, tool, {"text": "x"}, headers)
    assert (status, answer["success"]) == (403, False)
    assert why in answer["error"]
    entry = await newest_entry(house)
    assert entry.event == ("close" if tool == "wreck" else "call")
    assert entry.body["outcome"] == "denied"


async def test_a_revoked_key_is_refused_within_a_second(house: House) -> None:
    headers = {"Authorization": f"Bearer {house.key('developer', name='soon')}"}
    assert (await call(house, "echo", {"text": "x"}, headers))[0] == 200
    house.app.keys.revoke("soon", by=local_principal())
    await asyncio.sleep(1.1)
    assert (await call(house, "echo", {"text": "x"}, headers))[0] == 401


async def test_what_is_wrong_with_a_request_has_its_own_status(house: House) -> None:
    headers = house.headers("developer")
    typed = {**headers, "Content-Type": "application/json"}
    deep = ('{"a":' * 70 + "1" + "}" * 70).encode()
    large = b'{"text": "' + b"x" * BODY_LIMIT + b'"}'
    plain = {**headers, "Content-Type": "text/plain"}
    twice = {**headers, "Idempotency-Key": "x" * 300}
    for expected, tool, given in (
        (400, "echo", {"headers": headers, "body": {"text": 5}}),
        (400, "echo", {"headers": typed, "data": b"{not json"}),
        (400, "echo", {"headers": typed, "data": b""}),
        (400, "echo", {"headers": typed, "data": deep}),
        (400, "echo", {"headers": twice, "body": {"text": "x"}}),
        (404, "nowhere", {"headers": headers}),
        (413, "echo", {"headers": typed, "data": io.BytesIO(large)}),
        (415, "echo", {"headers": plain, "data": b"{}"}),
        (422, "echo", {"headers": typed, "data": b"[1]"}),
    ):
        status, answer = await call(house, tool, **given)
        assert (status, answer["success"]) == (expected, False), given
        assert answer["error"]
    async with house.session.get(house.url + CALL + "echo", headers=headers) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert (await answer.json())["hint"] == "allowed: POST"
    async with house.session.post(house.url + "/api/v2/tools", headers=headers) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")
        assert (await answer.json())["hint"] == "allowed: GET"


async def test_a_large_body_in_chunks_is_cut_off_at_the_limit(house: House) -> None:
    async def chunks() -> Any:
        for _ in range(6):
            yield b"[" * (1 << 20)

    headers = {**house.headers("developer"), "Content-Type": "application/json"}
    status, answer = await call(house, "echo", headers=headers, data=chunks())
    assert (status, answer["success"]) == (413, False)


async def test_brackets_inside_of_texts_are_not_depth(house: House) -> None:
    text = '[{"' * 200
    status, answer = await call(house, "echo", {"text": text}, house.headers("developer"))
    assert (status, answer["said"]) == (200, text)


async def test_a_foreign_host_or_origin_is_refused_on_every_route(house: House) -> None:
    headers = house.headers("admin")
    for path in ("/api/v2/tools", "/healthz", "/metrics", "/mcp", CALL + "echo"):
        for expected, more in (
            (421, {"Host": "evil.example"}),
            (421, {"Host": "localhost.evil.example"}),
            (421, {"Host": "127.0.0.1@evil.example"}),
            (403, {"Origin": "https://evil.example"}),
            (403, {"Origin": "null"}),
            (403, {"Origin": "http://localhost.evil.example"}),
        ):
            async with house.session.get(house.url + path, headers={**headers, **more}) as answer:
                assert answer.status == expected, (path, more)
    for more in ({"Host": "localhost"}, {"Host": "[::1]:8080"}, {"Origin": "http://localhost:1"}):
        async with house.session.get(house.url + "/healthz", headers=more) as answer:
            assert answer.status == 200, more


async def test_a_header_that_decides_may_not_come_twice(house: House) -> None:
    key = house.key("developer")
    request = (
        b"POST /api/v2/tools/call/echo HTTP/1.1\r\nHost: localhost\r\n"
        b"Authorization: Bearer plt_other\r\nAuthorization: Bearer %s\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    ) % key.encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"authorization came more than once" in answer


@pytest.mark.parametrize(
    ("tool", "how", "outcome", "error"),
    [
        ("fails", "answer", "failed", "it did not work"),
        ("fails", "unavailable", "unavailable", "the part is not there"),
        ("fails", "bug", "failed", "fails broke: ZeroDivisionError: no such number"),
        ("fails_quickly", "timeout", "timed_out", "fails_quickly took longer than 0.2 s"),
    ],
)
async def test_what_ran_and_failed_answers_200_and_says_why(
    house: House, tool: str, how: str, outcome: str, error: str
) -> None:
    status, answer = await call(house, tool, {"how": how}, house.headers("developer"))
    assert status == 200
    assert (answer["success"], answer["outcome"], answer["error"]) == (False, outcome, error)
    entry = await newest_entry(house)
    assert entry.body["outcome"] == outcome


async def test_a_path_outside_of_the_roots_is_an_error_that_says_so(house: House) -> None:
    status, answer = await call(house, "reads", {"path": "/etc/passwd"}, house.headers("developer"))
    assert (status, answer["outcome"]) == (200, "denied")
    assert "outside" in answer["error"]


async def test_a_slow_call_commits_and_keeps_the_client_with_spaces(
    house: House, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watch, "BEAT", 0.05)
    monkeypatch.setattr(house.front._calls, "_commit_after", 0.2)
    end = tmp_path / "end"
    async with house.session.post(
        house.url + CALL + "waits", json={"file": str(end)}, headers=house.headers("developer")
    ) as answer:
        assert answer.status == 200
        assert await answer.content.readexactly(3) == b"   ", "before there is a result"
        end.touch()
        text = (await answer.read()).decode()
    assert json.loads(text) == {"success": True, "outcome": "succeeded", "said": "done"}


async def test_progress_streams_to_who_accepts_it(house: House) -> None:
    headers = {**house.headers("developer"), "Accept": "text/event-stream"}
    async with house.session.post(
        house.url + CALL + "slow", json={"seconds": 0.5}, headers=headers
    ) as answer:
        assert answer.content_type == "text/event-stream"
        events = (await answer.text()).strip().split("\n\n")
    events = [event for event in events if event != ": "]  # a beat, where it took long
    assert [event.split("\n")[0] for event in events] == ["event: progress"] * 5 + ["event: result"]
    assert json.loads(events[0].split("data: ")[1]) == {"message": "step 1", "done": 1, "total": 5}
    assert json.loads(events[-1].split("data: ")[1])["said"] == "done"
    async with house.session.post(
        house.url + CALL + "echo", json={"text": 5}, headers=headers
    ) as answer:
        assert (answer.status, answer.content_type) == (400, "application/json")


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_client_that_goes_away_cancels_its_call(
    house: House, tmp_path: Path, accept: str
) -> None:
    mark = tmp_path / "mark"
    headers = {**house.headers("developer"), "Accept": accept}
    given = {"seconds": 60, "mark": str(mark)}
    waiting = asyncio.create_task(call(house, "slow", given, headers))
    await until(mark.exists)
    waiting.cancel()
    await until(lambda: mark.read_text("utf-8") == "cleaned up")
    assert (await newest_entry(house)).body["outcome"] == "cancelled"


async def test_a_second_call_under_the_key_of_one_that_runs_is_a_conflict(
    house: House, tmp_path: Path
) -> None:
    end, there = tmp_path / "end", {"file": str(tmp_path)}
    headers = {**house.headers("developer"), "Idempotency-Key": "once"}
    first = asyncio.create_task(call(house, "waits", {"file": str(end)}, headers))
    await until(lambda: house.app.gateway.running == 1)
    status, answer = await call(house, "waits", there, headers)
    assert (status, answer["success"]) == (409, False)
    other = {**house.headers("developer"), "Idempotency-Key": "once"}
    assert (await call(house, "waits", there, other))[0] == 200, "keys are each caller's own"
    end.touch()
    assert (await first)[0] == 200
    assert (await call(house, "waits", {"file": str(end)}, headers))[0] == 200
    assert (await call(house, "waits", there, headers))[0] == 409, "the key has its arguments"


async def get(house: House, path: str, role: str | None) -> tuple[int, Any]:
    headers = house.headers(role) if role else {}
    async with house.session.get(house.url + path, headers=headers) as answer:
        if answer.content_type == "application/json":
            return answer.status, await answer.json()
        return answer.status, await answer.text()


async def test_the_management_api_shows_tools_calls_and_the_audit_to_who_may(house: House) -> None:
    await call(house, "echo", {"text": "hi"}, house.headers("developer"))
    await call(house, "fails", {"how": "answer"}, house.headers("developer"))
    await house.app.audit.settled()
    status, body = await get(house, "/api/v2/tools", "viewer")
    assert status == 200
    shown = {tool["name"]: tool for tool in body["tools"]}
    assert shown["echo"]["may"] == "deny"
    assert shown["echo"]["input_schema"]["properties"]["text"] == {"type": "string"}
    status, body = await get(house, "/api/v2/calls?limit=1", "viewer")
    assert [(c["tool"], c["outcome"]) for c in body["calls"]] == [("fails", "failed")]
    status, body = await get(house, f"/api/v2/calls?before={body['next']}", "viewer")
    assert [(c["tool"], c["outcome"], c["via"]) for c in body["calls"]] == [
        ("echo", "succeeded", "rest")
    ]
    assert body["next"] is None
    assert (await get(house, "/api/v2/audit", "developer"))[0] == 403
    assert (await newest_entry(house)).event == "refused"
    status, body = await get(house, "/api/v2/audit?event=call", "operator")
    assert {entry["event"] for entry in body["entries"]} == {"call"}
    status, body = await get(house, "/api/v2/audit/verify", "operator")
    assert (status, body["bad_seq"]) == (200, None)
    assert (await get(house, "/api/v2/tools/nowhere", "viewer"))[0] == 404
    assert (await get(house, "/api/v2/calls?limit=none", "viewer"))[0] == 400
    assert (await get(house, "/nowhere", "viewer"))[0] == 404
    assert (await get(house, "/api/v2/tools", None))[0] == 401


async def test_health_metrics_and_the_description_need_no_key(house: House) -> None:
    await call(house, "echo", {"text": "hi"}, house.headers("developer"))
    await call(house, "nowhere", {}, house.headers("developer"))
    assert (await get(house, "/healthz", None))[0] == 200
    assert (await get(house, "/readyz", None))[1]["status"] == "ok"
    status, text = await get(house, "/metrics", None)
    assert status == 200
    assert 'pilotage_calls_total{outcome="succeeded",tool="echo",via="rest"} 1.0' in text
    assert 'pilotage_calls_total{outcome="failed",tool="(unknown)",via="rest"} 1.0' in text
    assert 'pilotage_call_seconds_count{tool="echo"} 1.0' in text
    assert "pilotage_calls_running 0.0" in text
    status, schema = await get(house, "/api/v2/openapi.json", None)
    assert schema["openapi"].startswith("3.")
    paths = {"/api/v2/tools", "/api/v2/calls", "/api/v2/audit", "/api/v2/tools/call/{tool}"}
    assert paths <= set(schema["paths"])
    answers = set(schema["paths"]["/api/v2/tools/call/{tool}"]["post"]["responses"])
    assert {"200", "400", "401", "403", "404", "409", "413", "422", "429"} <= answers


async def test_a_stopping_server_finishes_what_runs_and_refuses_the_rest(
    house: House, tmp_path: Path
) -> None:
    headers, end = house.headers("developer"), tmp_path / "end"
    first = asyncio.create_task(call(house, "waits", {"file": str(end)}, headers))
    await until(lambda: house.app.gateway.running == 1)
    drain = asyncio.create_task(house.front.drain(LONG))
    await until(lambda: house.front.stopping)
    status, answer = await call(house, "echo", {"text": "late"}, headers)
    assert (status, answer["success"]) == (503, False)
    assert (await get(house, "/readyz", None))[0] == 503
    assert not drain.done()
    end.touch()
    assert (await first)[1]["said"] == "done"
    await asyncio.wait_for(drain, LONG)


async def test_secrets_in_arguments_do_not_reach_the_audit_or_the_error(house: House) -> None:
    secret = "hunter2-hunter2-hunter2"
    house.app.redactor.mask("known-secret-value")
    headers = house.headers("developer")
    token = "ghp_" + "a" * 40
    await call(
        house, "lenient", {"text": token, "password": secret, "api_token": [secret]}, headers
    )
    status, answer = await call(house, "lenient", {"text": {"password": secret}}, headers)
    assert status == 400
    assert secret not in json.dumps(answer)
    _, answer = await call(house, "echo", {"text": "known-secret-value"}, headers)
    assert answer["said"] == "[redacted]"
    await house.app.audit.settled()
    stored = json.dumps([entry.body for entry in house.app.audit.list()], default=str)
    for text in (secret, token, "known-secret-value"):
        assert text not in stored
