"""Events of a run as a client on a network sees them: none lost, none twice, whatever breaks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pilotage.app import local_principal
from pilotage.server import events as module
from server.conftest import House
from server.run_tools import run_app, run_house
from server.test_runs import RUNS, WAITS, ask, at_rest, started
from waiting import LONG, until

HERE = Path(__file__).parent
Headers = dict[str, str]
Heard = list[tuple[int, str]]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with run_house(tmp_path) as house:
        yield house


async def frames(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, str]]:
    """The events of a stream, each with its fields."""
    fields: dict[str, str] = {}
    async for raw in answer.content:
        line = raw.decode().rstrip("\n")
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and "data" in fields:
            yield fields
            fields = {}
        elif not line:
            fields = {}


async def heard(
    session: aiohttp.ClientSession,
    url: str,
    headers: Headers,
    *,
    stop: str = "",
    count: int = 0,
    into: Heard | None = None,
) -> Heard:
    """Number and kind of each event, to the end of the stream; or to the first event `stop`, or
    to so many: then the connection is broken off. They are in `into` as they come."""
    found: Heard = [] if into is None else into
    async with session.get(url, headers=headers) as answer:
        assert answer.status == 200, await answer.text()
        async for fields in frames(answer):
            found.append((int(fields["id"]), fields["event"]))
            assert json.loads(fields["data"])["seq"] == found[-1][0]
            if fields["event"] == stop or len(found) == count:
                answer.close()
                break
    return found


def pipeline(root: Path, *names: str, end: Path | None = None) -> dict[str, Any]:
    params: dict[str, Any] = {"mark": str(root / "mark")}
    steps = [{"name": name, "tool": "work", "params": dict(params)} for name in names]
    if end is not None:
        steps[0]["params"]["end"] = str(end)  # type: ignore[index]
    return {"name": "p", "steps": steps}


def numbered(events: Heard) -> list[int]:
    return [seq for seq, _ in events]


async def test_events_come_as_they_happen_and_end_with_the_run(
    house: House, tmp_path: Path
) -> None:
    key, end = house.headers("ci"), tmp_path / "root" / "end"
    run = await started(house, key, pipeline(tmp_path / "root", "a", "b", end=end))
    url = f"{house.url}{RUNS}/{run}/events"
    first = await heard(house.session, url, key, stop="started")
    end.touch()
    rest = await heard(house.session, url, {**key, "Last-Event-ID": str(first[-1][0])})
    assert numbered([*first, *rest]) == list(range(len(first) + len(rest)))
    assert rest[-1][1] == "ended"
    whole = await heard(house.session, url, key)
    assert whole == [*first, *rest]


async def test_a_client_that_breaks_off_after_each_event_misses_none(
    house: House, tmp_path: Path
) -> None:
    key = house.headers("ci")
    run = await started(house, key, pipeline(tmp_path / "root", "a", "b"))
    url, found = f"{house.url}{RUNS}/{run}/events", []
    while not found or found[-1][1] != "ended":
        last = {"Last-Event-ID": str(found[-1][0])} if found else {}
        found += await heard(house.session, url, {**key, **last}, count=1)
    assert found == await heard(house.session, url, key)


async def test_after_the_end_there_is_nothing_and_before_its_time_nothing_is_made_up(
    house: House, tmp_path: Path
) -> None:
    key = house.headers("ci")
    run = await started(house, key, pipeline(tmp_path / "root", "a"))
    await at_rest(house, run)
    last = house.app.runs.show(run)[1].seq
    url = f"{house.url}{RUNS}/{run}/events"
    async with house.session.get(f"{url}?after={last}", headers=key) as answer:
        assert answer.status == 204  # which tells an EventSource to come no more
    for odd in (f"?after={last + 1}", "?after=x", "?after=-2", "?until=later"):
        assert (await ask(house, "GET", f"/{run}/events{odd}", key))[0] == 400, odd
    bad = {**key, "Last-Event-ID": "1; drop"}
    assert (await ask(house, "GET", f"/{run}/events", bad))[0] == 400
    from_header = {**key, "Last-Event-ID": str(last - 1)}
    assert len(await heard(house.session, f"{url}?after=0", from_header)) == 1


async def test_a_stream_until_settled_ends_where_a_person_is_waited_for(house: House) -> None:
    boss = house.headers("operator")
    run = await started(house, boss, WAITS)
    url = f"{house.url}{RUNS}/{run}/events?until=settled"
    first = await heard(house.session, url, boss)
    assert first[-1][1] == "parked"
    _, after = await ask(house, "POST", f"/{run}/approve", boss)
    rest = await heard(house.session, f"{url}&after={after['seq']}", boss)
    assert rest[0][0] == after["seq"] + 1
    assert rest[-1][1] == "ended"


async def test_a_run_of_another_process_is_followed_as_well(house: House, tmp_path: Path) -> None:
    """One that shares the state folder: a second server, a command line."""
    end = tmp_path / "root" / "end"
    other = run_app(tmp_path / "home", tmp_path / "root")
    try:
        from pilotage.pipeline import lint, load
        from pilotage.pipeline.prepare import Given

        document = load.Document(pipeline(tmp_path / "root", "a", end=end))
        made = lint.checked(lint.lint(document, other.runs.tools))
        run = await other.runs.start(made, Given(), local_principal())
        url, key = f"{house.url}{RUNS}/{run}/events", house.headers("viewer")
        following = asyncio.ensure_future(heard(house.session, url, key))
        await until((tmp_path / "root" / "mark").exists)
        end.touch()
        found = await following
        assert found[-1][1] == "ended"
        assert numbered(found) == list(range(len(found)))
        _, shown = await ask(house, "GET", f"/{run}", key)
        assert (shown["principal"], shown["success"]) == (local_principal().name, True)
    finally:
        await other.runs.close()
        other.close()


async def test_a_silent_stream_beats_and_a_revoked_key_ends_it(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BEAT", 0.05)
    secret = house.key("ci", name="mine")
    key, end = {"Authorization": f"Bearer {secret}"}, tmp_path / "root" / "end"
    run = await started(house, key, pipeline(tmp_path / "root", "a", end=end))
    url = f"{house.url}{RUNS}/{run}/events"
    async with house.session.get(url, headers=key) as answer:
        async for line in answer.content:
            if line == b": \n":
                break
        house.app.keys.revoke("mine", by=local_principal())
        found = [fields async for fields in frames(answer)]
    assert found[-1]["event"] == "error"
    assert "not valid any more" in found[-1]["data"]
    end.touch()
    await at_rest(house, run)


async def test_a_reader_that_takes_nothing_holds_up_nobody(house: House) -> None:
    key, read = house.headers("ci"), 0
    steps = [{"name": "a", "tool": "say", "params": {"lines": 1500, "text": "x" * 900}}]
    run = await started(house, key, {"name": "p", "steps": steps})
    path = f"{RUNS}/{run}/events"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(house.url.rsplit(":", 1)[1]))
    head = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key['Authorization']}\r\n\r\n"
    )
    writer.write(head.encode())
    await at_rest(house, run)
    quick = await heard(house.session, house.url + path, key)
    assert quick[-1][1] == "ended"
    while b"event: ended" not in (chunk := await reader.read(65_536)):
        assert chunk
        read += len(chunk)
    assert read > 500_000, "far more than any buffer between us holds"
    writer.close()


async def test_streams_are_bounded_for_each_principal(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = tmp_path / "root" / "end"
    a, b = house.headers("developer"), house.headers("developer")
    run = await started(house, a, pipeline(tmp_path / "root", "a", end=end))
    url = f"{house.url}{RUNS}/{run}/events"
    opened = []
    try:
        for _ in range(module.STREAMS_EACH):
            opened.append(await house.session.get(url, headers=a, timeout=PATIENT))
        async with aiohttp.ClientSession() as more:
            async with more.get(url, headers=a) as refused:
                assert refused.status == 429
                assert "Retry-After" in refused.headers
            async with more.get(url, headers=b) as other:
                assert other.status == 200
    finally:
        for answer in opened:
            answer.close()
    end.touch()
    await at_rest(house, run)


PATIENT = aiohttp.ClientTimeout(total=LONG)


@contextmanager
def server(home: Path, root: Path, port: int, *flags: str) -> Iterator[subprocess.Popen[str]]:
    env = {**os.environ, "PILOTAGE_HOME": str(home), "PYTHONPATH": str(HERE.parent)}
    command = [sys.executable, "-m", "server.run_tools", str(root), str(port), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("http")
            yield process
        finally:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


async def test_a_server_that_is_killed_loses_no_event_of_a_run(tmp_path: Path) -> None:
    """kill -9 in mid-run, start again: the stream goes on from its last id, the run ends once."""
    home, root, port = tmp_path / "home", tmp_path / "root", free_port()
    root.mkdir()
    app = run_app(home, root)
    secret = app.keys.create("ci", ("ci",), by=local_principal())[1]
    app.close()
    headers, url = {"Authorization": f"Bearer {secret}"}, f"http://127.0.0.1:{port}{RUNS}"
    end, asked = root / "end", pipeline(root, "a", "b", "c", end=None)
    asked["steps"][1]["params"]["end"] = str(end)
    async with aiohttp.ClientSession(timeout=PATIENT) as session:
        with server(home, root, port) as process:
            async with session.post(url, headers=headers, json={"pipeline": asked}) as answer:
                run = (await answer.json())["run"]
            first: Heard = []
            stream = _to_the_break(session, f"{url}/{run}/events", headers, first)
            following = asyncio.ensure_future(stream)
            await until(lambda: len(first) > 4 and "begin b" in _lines(root))
            process.send_signal(signal.SIGKILL)
            process.wait()
            await following
        with server(home, root, port):
            end.touch()
            last = {**headers, "Last-Event-ID": str(first[-1][0])}
            rest = await heard(session, f"{url}/{run}/events", last)
            whole = await heard(session, f"{url}/{run}/events", headers)
            async with session.get(f"{url}/{run}", headers=headers) as answer:
                assert (await answer.json())["success"] is True
    assert [*first, *rest] == whole
    assert numbered(whole) == list(range(len(whole)))
    kinds = [kind for _, kind in whole]
    assert (kinds.count("ended"), kinds.count("taken")) == (1, 2)
    assert _lines(root).count("end a") == 1, "what had ended did not run again"
    assert _lines(root).count("end b") == _lines(root).count("end c") == 1


async def test_a_server_that_is_stopped_ends_its_streams_and_the_run_goes_on_later(
    tmp_path: Path,
) -> None:
    home, root, port = tmp_path / "home", tmp_path / "root", free_port()
    root.mkdir()
    app = run_app(home, root)
    secret = app.keys.create("ci", ("ci",), by=local_principal())[1]
    app.close()
    headers, url = {"Authorization": f"Bearer {secret}"}, f"http://127.0.0.1:{port}{RUNS}"
    end = root / "end"
    async with aiohttp.ClientSession(timeout=PATIENT) as session:
        with server(home, root, port, "--grace", "0") as process:
            asked = {"pipeline": pipeline(root, "a", end=end)}
            async with session.post(url, headers=headers, json=asked) as answer:
                run = (await answer.json())["run"]
            first: Heard = []
            stream = heard(session, f"{url}/{run}/events", headers, into=first)
            following = asyncio.ensure_future(stream)
            await until(lambda: "started" in [kind for _, kind in first])
            process.send_signal(signal.SIGTERM)
            await following
            assert "ended" not in [kind for _, kind in first]
            assert process.wait(LONG) == 0
        end.touch()
        with server(home, root, port):
            last = {**headers, "Last-Event-ID": str(first[-1][0])}
            rest = await heard(session, f"{url}/{run}/events", last)
    assert rest[-1][1] == "ended"
    assert numbered([*first, *rest]) == list(range(len(first) + len(rest)))


def _lines(root: Path) -> list[str]:
    mark = root / "mark"
    return mark.read_text().splitlines() if mark.exists() else []


async def _to_the_break(
    session: aiohttp.ClientSession, url: str, headers: Headers, into: Heard
) -> None:
    """What is heard until the server is gone."""
    with pytest.raises(aiohttp.ClientError):
        await heard(session, url, headers, into=into)
