"""Under which names the tools of upstream servers are shown, and what may be declared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pilotage.domain.call import Effect
from pilotage.domain.errors import BadInput
from pilotage.tool.tool import Tool
from pilotage.upstream.server import Upstream, declared
from upstream.house import federated
from upstream.mcp_server import serving, tool


def names(parts: Any) -> list[str]:
    return sorted(parts.registry.all)


async def test_two_servers_with_the_same_name_are_told_apart(tmp_path: Path) -> None:
    async with (
        serving(tools=[tool("search"), tool("a")]) as one,
        serving(tools=[tool("search"), tool("b")]) as two,
        federated(tmp_path, one={"url": one.url}, two={"url": two.url}) as parts,
    ):
        assert names(parts) == ["a", "b", "search", "two_search"], "who joined first has it"
        for name, server in (("search", one), ("two_search", two)):
            before = len(server.seen)
            assert (await parts.call(name, text="x")).succeeded
            assert server.seen[before][1]["params"]["name"] == "search"


async def test_names_of_the_house_and_reserved_ones_are_never_anothers(tmp_path: Path) -> None:
    listed = [tool("mine"), tool("pilotage.admin"), tool("gateway_x"), tool("a b"), tool("")]
    async with (
        serving(tools=[*listed, {"name": 5}, {}]) as server,
        federated(tmp_path, wait=0, up={"url": server.url, "prefix": ""}) as parts,
    ):
        house = _house_tool("mine")
        parts.registry.add(house)
        await parts.federation.start(20)
        assert parts.registry.all["mine"].tool is house
        assert names(parts) == ["mine"]
        why = dict(parts.standing("up").refused)
        assert "another's" in why["mine"]
        assert "reserved" in why["pilotage.admin"]
        assert "letters, digits" in why["a b"]


@pytest.mark.parametrize(
    ("more", "shown", "refused"),
    [
        ({}, ["evil.up_evil.x", "evil.up_payments.refund", "up_mine"], 0),
        ({"prefix": ""}, ["evil.x", "mine"], 1),
        ({"prefix": "payments.a"}, [], 3),
        ({"prefix": "evil.a"}, ["evil.a_evil.x", "evil.a_mine", "evil.a_payments.refund"], 0),
        ({"rename": {"mine": "payments.pay"}, "allow": ["mine"], "prefix": ""}, [], 1),
        ({"rename": {"payments.refund": "refund"}}, ["evil.up_evil.x", "refund", "up_mine"], 0),
    ],
)
async def test_what_stands_before_a_dot_is_the_namespace_that_it_was_declared_in(
    tmp_path: Path, more: dict[str, Any], shown: list[str], refused: int
) -> None:
    """A server says what its tools are called; none of them is called like another namespace's."""
    tools = [tool(name) for name in ("payments.refund", "evil.x", "mine")]
    async with serving(tools=tools) as server:
        up = {"url": server.url, "namespace": "evil", **more}
        async with federated(tmp_path, up=up) as parts:
            assert names(parts) == shown
            why = [why for _, why in parts.standing("up").refused]
            assert len(why) == refused
            assert all("would be a name of payments" in one for one in why), why


async def test_names_from_a_namespace_do_not_depend_on_who_was_first(tmp_path: Path) -> None:
    async with (
        serving(tools=[tool("search")]) as server,
        federated(
            tmp_path,
            one={"url": server.url, "namespace": "a"},
            two={"url": server.url, "namespace": "b"},
            three={"url": server.url, "namespace": "b", "rename": {"search": "look"}},
            four={"url": server.url, "namespace": "c", "rename": {"search": "look"}},
        ) as parts,
    ):
        assert names(parts) == ["look", "one_search", "two_search"]
        refused = [parts.standing(name).refused for name in ("three", "four")]
        assert sorted(map(len, refused)) == [0, 1], "a name that somebody wrote down is no other"


async def test_a_taken_name_gets_the_servers_name_before_it(tmp_path: Path) -> None:
    async with (
        serving(tools=[tool("mine"), tool("pilotage.admin")]) as server,
        federated(tmp_path, wait=0, up={"url": server.url}) as parts,
    ):
        parts.registry.add(_house_tool("mine"))
        await parts.federation.start(20)
        assert names(parts) == ["mine", "up_mine", "up_pilotage.admin"]


async def test_long_names_are_cut_and_stay_different(tmp_path: Path) -> None:
    long = ["x" * 80 + end for end in "ab"]
    async with (
        serving(tools=[tool(name) for name in long]) as server,
        federated(tmp_path, up={"url": server.url}) as parts,
    ):
        shown = names(parts)
        assert [len(name) for name in shown] == [64, 64]
        assert await parts.call(shown[0], text="x")
        assert server.seen[-1][1]["params"]["name"] in long


async def test_allow_and_rename_choose_and_name(tmp_path: Path) -> None:
    listed = [tool("read_file"), tool("write_file"), tool("rm")]
    async with serving(tools=listed) as server:
        up = {
            "url": server.url,
            "prefix": "fs",
            "allow": ["*_file"],
            "rename": {"read_file": "look"},
            "effects": {"read_*": "read"},
        }
        async with federated(tmp_path, up=up) as parts:
            assert names(parts) == ["fs_look", "fs_write_file"]
            assert parts.registry.find("fs_look").tool.effect is Effect.READ
            await parts.call("fs_look", text="x")
            headers, message = server.seen[-1]
            assert headers["mcp-name"] == message["params"]["name"] == "read_file"


def test_what_a_server_says_of_itself_makes_it_stricter_only() -> None:
    up = Upstream("up", url="https://x")
    assert up.effect("a", {"readOnlyHint": True}) is Effect.WRITE
    assert up.effect("a", {"destructiveHint": True}) is Effect.DESTROY
    trusted = Upstream("up", url="https://x", trusted=True)
    assert trusted.effect("a", {"readOnlyHint": True}) is Effect.READ


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "either a url or an argv"),
    "both": ({"url": "https://x/", "argv": ["x"]}, "either a url or an argv"),
    "no url": ({"url": "file:///etc/passwd"}, "url is"),
    "unknown field": ({"url": "https://x/", "command": "x"}, "command"),
    "a shell": ({"argv": "rm -rf /; echo"}, "argv"),
    "no program": ({"argv": [""]}, "starts with the program"),
    "NODE_OPTIONS": ({"argv": ["x"], "env": {"NODE_OPTIONS": "--require x"}}, "NODE_OPTIONS"),
    "LD_PRELOAD": ({"argv": ["x"], "env": {"LD_PRELOAD": "x.so"}}, "LD_PRELOAD"),
    "PATH": ({"argv": ["x"], "env": {"PATH": "/tmp"}}, "PATH"),
    "PYTHONSTARTUP": ({"argv": ["x"], "env": {"PYTHONSTARTUP": "x"}}, "PYTHONSTARTUP"),
    "our header": ({"url": "https://x/", "headers": {"Mcp-Session-Id": "1"}}, "Mcp-Session-Id"),
    "a literal key": ({"url": "https://x/", "headers": {"Authorization": "Bearer 1"}}, "secret"),
    "two lines": ({"url": "https://x/", "headers": {"X-A": "1\r\nX-B: 2"}}, "one line"),
    "a bad prefix": ({"url": "https://x/", "prefix": "a b"}, "prefix"),
    "a bad new name": ({"url": "https://x/", "rename": {"a": "pilotage_x"}}, "reserved"),
    "a bad offer": ({"url": "https://x/", "offers": ["all"]}, "offers"),
    "no time": ({"url": "https://x/", "timeout": 0}, "timeout"),
}


@pytest.mark.parametrize(("given", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_used_is_refused_with_the_reason(given: Any, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        declared("up", given, owner="settings", administrator=True)
    assert words in f"{caught.value.what} {caught.value.hint}"


def test_only_the_settings_file_may_name_a_program() -> None:
    with pytest.raises(BadInput, match="only for an upstream of the settings file"):
        declared("up", {"argv": ["/bin/echo"]}, owner="key:somebody")
    assert declared("up", {"argv": ["/bin/echo"]}, owner="settings", administrator=True).argv


def _house_tool(name: str) -> Tool:
    async def run(*_: Any) -> Any:
        raise AssertionError

    return Tool(name, "", "", Effect.READ, {"type": "object"}, None, run)
