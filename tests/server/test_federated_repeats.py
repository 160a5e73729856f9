"""Tools of a server behind us whose answers are kept, and whose calls are tried again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
import yaml

from pilotage import config
from pilotage.app import App
from pilotage.tool.registry import State
from pilotage.tool.roots import roots
from server.conftest import House, running
from server.test_federated import era, fronted
from server.test_mcp import connected
from upstream.mcp_server import CLASSIC, MODERN, Asked, Server, said, serving, tool
from waiting import until

SOON = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info"}}


@dataclass
class Flaky:
    """Breaks off so many answers, then answers."""

    left: int

    async def __call__(self, asked: Asked) -> Any:
        if self.left:
            self.left -= 1
            await asked.tell(SOON)
            return None
        return said("here", structuredContent={"n": 1})


def runs(server: Server, name: str = "echo") -> int:
    calls = [m["params"] for _, m in server.seen if m.get("method") == "tools/call"]
    return sum(params["name"] == name for params in calls)


async def post(house: House, name: str, path: str = "") -> tuple[Any, Any]:
    url = f"{house.url}/api/v2/tools/call/{name}"
    headers = {"Authorization": f"Bearer {house.key('admin')}"}
    async with house.session.post(url, json={"text": "x"}, headers=headers) as answer:
        return await answer.json(), answer.headers


async def refused(house: House) -> dict[str, str]:
    url = house.url + "/api/v2/upstreams"
    async with house.session.get(url, headers=house.headers("admin")) as answer:
        (up,) = (await answer.json())["upstreams"]
        return {one["tool"]: one["why"] for one in up["refused"]}


async def test_what_broke_off_is_tried_again_as_often_as_declared(tmp_path: Path) -> None:
    more = {"idempotent": ["echo"], "retries": {"echo": 2}}
    async with (
        serving(answer=Flaky(2)) as server,
        fronted(tmp_path / "h", server, **more) as house,
    ):
        answer, _ = await post(house, "echo")
        assert (answer["success"], answer["n"], runs(server)) == (True, 1, 3)


async def test_after_that_it_is_unavailable_and_nothing_is_tried_again_unasked(
    tmp_path: Path,
) -> None:
    more = {"idempotent": ["echo"], "retries": 1}
    async with (
        serving(answer=Flaky(9), tools=[tool("echo"), tool("other")]) as server,
        fronted(tmp_path / "h", server, **more) as house,
    ):
        answer, _ = await post(house, "echo")
        assert (answer["outcome"], runs(server)) == ("unavailable", 2)
        answer, _ = await post(house, "other")
        assert (answer["outcome"], runs(server, "other")) == ("unavailable", 1), "not idempotent"


async def test_an_answer_is_an_answer(tmp_path: Path) -> None:
    async def fails(_: Asked) -> Any:
        return {"error": {"code": -32000, "message": "not today"}}

    more = {"idempotent": ["*"], "retries": 5}
    async with serving(answer=fails) as server, fronted(tmp_path / "h", server, **more) as house:
        answer, _ = await post(house, "echo")
        assert (answer["error"], runs(server)) == ("not today", 1)


@era
async def test_answers_of_what_reads_are_kept_as_long_as_declared(
    tmp_path: Path, mode: str
) -> None:
    more = {"idempotent": ["echo"], "cache_seconds": 60}
    async with (
        serving(answer=Flaky(0), tools=[tool("echo"), tool("other")]) as server,
        fronted(tmp_path / "h", server, **more) as house,
        connected(house, house.key("developer"), mode) as client,
    ):
        fresh, kept = [await client.call_tool("echo", {"text": "x"}) for _ in range(2)]
        assert runs(server) == 1
        assert fresh.structured_content == kept.structured_content == {"n": 1}
        assert kept.meta is not None
        assert kept.meta["io.pilotage/cached"] is True
        assert "io.pilotage/cached" not in (fresh.meta or {})
        other = await client.call_tool("echo", {"text": "y"})
        assert (other.meta or {}).get("io.pilotage/cached") is None
        for _ in range(2):
            await client.call_tool("other", {"text": "x"})
        assert runs(server, "other") == 2, "nobody said that it is idempotent"


async def test_an_answer_is_kept_for_who_asked(tmp_path: Path) -> None:
    more = {"idempotent": ["echo"], "cache_seconds": {"echo": 60}}
    async with serving() as server, fronted(tmp_path / "h", server, **more) as house:
        for _ in range(2):
            _, headers = await post(house, "echo")
            assert "Cache-Status" not in headers
        assert runs(server) == 2, "each by another key"


async def test_an_answer_is_kept_for_whom_the_client_asks(tmp_path: Path) -> None:
    """Many ask with one key, and say in `_meta` for whom: the server hears it, and may care."""

    async def answer(asked: Asked) -> Any:
        return said(str(asked.meta.get("vendor/user")))

    more = {"idempotent": ["echo"], "cache_seconds": 60}
    async with (
        serving(answer=answer) as server,
        fronted(tmp_path / "h", server, **more) as house,
        connected(house, house.key("developer"), MODERN) as client,
    ):
        heard = []
        for user in ("ann", "bob", "ann"):
            given: Any = {"vendor/user": user}
            answered = await client.call_tool("echo", {"text": "x"}, meta=given)
            assert isinstance(answered.content[0], types.TextContent)
            heard.append(answered.content[0].text)
        assert (heard, runs(server)) == (["ann", "bob", "ann"], 2)


async def test_a_tool_that_is_named_for_what_it_does_not_allow_is_refused(tmp_path: Path) -> None:
    names = ("reads", "writes", "twice", "plain")
    more = {
        "effects": {"reads": "read", "plain": "read"},
        "idempotent": ["twice"],
        "cache_seconds": {"reads": 5, "twice": 5},
        "retries": {"writes": 1, "twice": 1},
    }
    async with (
        serving(tools=[tool(name) for name in names]) as server,
        fronted(tmp_path / "h", server, **more) as house,
    ):
        assert set(house.app.registry.entries) == {"plain"}
        why = await refused(house)
        assert set(why) == {"reads", "writes", "twice"}
        assert why["reads"] == "cache_seconds is for tools that read and are idempotent"
        assert why["writes"] == "retries is for tools that are idempotent"
        assert why["twice"] == "cache_seconds is for tools that read and are idempotent"


async def test_a_client_that_was_asked_is_not_asked_the_same_again(tmp_path: Path) -> None:
    form = {"type": "object", "properties": {"name": {"type": "string"}}}
    params = {"mode": "form", "message": "who?", "requestedSchema": form}
    asked = 0

    async def breaks(one: Asked) -> Any:
        await server.ask(one, "elicitation/create", params)

    async def elicit(_: Any, __: Any) -> types.ElicitResult:
        nonlocal asked
        asked += 1
        return types.ElicitResult(action="accept", content={"name": "ada"})

    more = {"idempotent": ["echo"], "retries": 3}
    async with (
        serving(eras=(CLASSIC,), answer=breaks) as server,
        fronted(tmp_path / "h", server, **more) as house,
        connected(house, house.key("developer"), MODERN, elicitation_callback=elicit) as client,
    ):
        got = await client.call_tool("echo", {"text": "x"})
        assert got.is_error
        assert (asked, runs(server)) == (1, 1)


@asynccontextmanager
async def plain(home: Path) -> AsyncIterator[House]:
    home.mkdir()
    (home / "config.yaml").write_text(yaml.safe_dump({"egress": {"allow": "127.0.0.1"}}), "utf-8")
    settings = config.read(environment={"PILOTAGE_HOME": str(home), "HOME": str(home)})
    app = App(settings, roots(home), ())
    try:
        async with running(app) as house:
            yield house
    finally:
        app.close()


async def put(house: House, server: Server, **more: Any) -> tuple[int, Any]:
    body = {"kind": "mcp", "definition": {"url": server.url, **more}, "owner": "us"}
    headers = house.headers("admin")
    url = house.url + "/api/v2/tools/up"
    async with house.session.put(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"cache_seconds": -1}, "0 to 86400"),
        ({"cache_seconds": {"echo": 90_000}}, "0 to 86400"),
        ({"retries": 6}, "0 to 5"),
        ({"retries": {"*": 1.5}}, "int"),
        ({"idempotent": "echo"}, "array"),
    ],
)
async def test_a_definition_out_of_bounds_is_refused(
    tmp_path: Path, more: dict[str, Any], why: str
) -> None:
    async with serving() as server, plain(tmp_path / "h") as house:
        status, answer = await put(house, server, **more)
        assert status == 400
        assert why in answer["error"] + answer["hint"]


async def test_who_lets_calls_be_repeated_has_to_have_it_approved(tmp_path: Path) -> None:
    async with serving() as server, plain(tmp_path / "h") as house:
        assert (await put(house, server))[0] in (200, 201)
        await until(lambda: "echo" in house.app.registry.entries)
        more = {"idempotent": ["echo"], "retries": 2, "effects": {"echo": "read"}}
        assert (await put(house, server, **more, cache_seconds={"echo": 5}))[0] == 200

        def waits() -> bool:
            entry = house.app.registry.all.get("echo")
            return entry is not None and entry.state is State.QUARANTINED

        await until(waits)
        diff = house.app.others.pins.look("echo").diff
        assert "#echo; may be repeated; tried again 2 times; answers hold 5 s" in diff
