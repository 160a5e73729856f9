"""The operator's side of the tool server, where it is slow, and where another process leads."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from operator_faults import faulty
from pilotage import config
from pilotage.ci.client import Client
from pilotage.domain.errors import PilotageError, Unavailable
from pilotage.kubernetes.cluster import Cluster
from pilotage.kubernetes.credentials import Fixed
from pilotage.kubernetes.transport import Transport
from pilotage.operator import tool_server
from pilotage.operator.mcptool import leave
from pilotage.operator.registrar import Member, Registrar
from pilotage.operator.runtime.store import Store
from pilotage.operator.status import StatusWriter, moment
from pilotage.operator.tool_server import Away, Full, ToolServer
from waiting import until


def settings_of(home: Path, url: str) -> config.Settings:
    given = {"PILOTAGE_HOME": str(home), "HOME": str(home), "MCP_SERVER_URL": url}
    return config.read(environment={**given, "MCP_API_KEY": "x"})


async def test_one_answer_that_is_slow_is_nobody_elses_trouble(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tool_server, "ANSWER_SECONDS", 0.5)
    with faulty("slow") as slow:
        url = f"http://127.0.0.1:{slow.server_port}"
        settings = settings_of(tmp_path, url)
        async with Client(settings) as client:
            server = ToolServer(client)
            with pytest.raises(Full, match="no answer within"):
                await server.ask("POST", "/api/v2/runs", {})
            assert not server.why
            slow.how = "hang"
            with pytest.raises(Away):
                await server.ask("POST", "/api/v2/runs", {})
            assert server.why


async def test_a_server_that_is_busy_is_not_away_and_one_that_is_away_is_seen_after_it(
    tmp_path: Path,
) -> None:
    looked: list[str] = []

    class Controller:
        primary = SimpleNamespace(store=Store())

        def add_all(self) -> None:
            looked.append(server.how)

    with faulty("busy") as server:
        settings = settings_of(tmp_path, f"http://127.0.0.1:{server.server_port}")
        async with Client(settings) as client:
            registrar = Registrar(ToolServer(client), cast(Any, None), "test", "cluster.local")
            registrar.join(Member(cast(Any, Controller()), "f"))
            sweeping = asyncio.create_task(registrar.sweep((), 0.01))
            await until(lambda: server.asked > 4)
            server.how = "fail"
            await until(lambda: looked)
            asked = server.asked
            await asyncio.sleep(0.1)
            assert (looked, server.asked) == (["fail"], asked), "once, and nobody asks more"
            sweeping.cancel()


async def test_nothing_leaves_for_the_server_once_another_process_leads(tmp_path: Path) -> None:
    with faulty("fail") as server:
        url = f"http://127.0.0.1:{server.server_port}"
        settings = settings_of(tmp_path, url)
        transport = Transport(Cluster("none", url, Fixed()))
        async with Client(settings, transport.socket) as client:
            with pytest.raises(PilotageError, match="out of order"):
                await client.send("PUT", "/api/v2/secrets/A", {})
            transport.shut = lambda: True
            for _ in range(2):  # by the connection that is there, and by a new one
                with pytest.raises(Unavailable, match="may not write"):
                    await client.send("PUT", "/api/v2/secrets/A", {})
        assert server.asked == 1


@pytest.mark.parametrize("forced", [True, False])
async def test_no_fault_of_ours_holds_an_object_that_is_to_go_by_force(forced: bool) -> None:
    meta: dict[str, Any] = {
        "name": "a",
        "finalizers": ["f"],
        "deletionTimestamp": moment(),
        "annotations": {"mcp.example.com/force-delete": str(forced).lower()},
    }
    gone: list[Any] = []

    class Writer:
        async def let_go(self, object: Any, finalizer: str) -> None:
            gone.append(object)

    async def broken(object: Any) -> None:
        raise ValueError("a fault")

    object = {"apiVersion": "mcp.example.com/v1alpha1", "metadata": meta}
    with contextlib.nullcontext() if forced else pytest.raises(ValueError, match="a fault"):
        await leave(object, cast(StatusWriter, Writer()), "f", broken)
    assert gone == ([object] if forced else [])
