"""Attack table, "Resource exhaustion": each tried against the running server, over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pilotage.server.connection import HEAD_LIMIT
from pilotage.server.http import BODY_LIMIT
from server.test_attempts import CALL, ask, make_key, program
from server.test_drain import rpc
from waiting import LONG, until

JSON = {"Content-Type": "application/json"}
MEMORY = 400 << 20
"""What the server may grow by, in bytes: far less than what is thrown at it."""


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]
    return int(pages) * 4096


class Server:
    def __init__(self, url: str, pid: int, key: dict[str, str]) -> None:
        self.url, self.pid, self.key = url, pid, key
        self.port = int(url.rsplit(":", 1)[1])
        self.auth = f"Authorization: {key['Authorization']}".encode()

    async def well(self) -> None:
        """It still answers others."""
        async with aiohttp.ClientSession() as session:
            status, body, _ = await ask(session, self.url + CALL + "hi", {}, self.key)
            assert (status, body["said"]) == (200, "hi")
            async with session.get(self.url + "/metrics") as answer:
                assert "pilotage_calls_running 0.0" in await answer.text()


@contextmanager
def served(home: Path, **env: str) -> Iterator[Server]:
    key = make_key(home, "developer")
    with program(home, **env) as (process, url):
        yield Server(url, process.pid, key)


async def answered(session: aiohttp.ClientSession, url: str, data: Any, headers: Any) -> int:
    async with session.post(url, data=io.BytesIO(data), headers=headers) as answer:
        body = await answer.json(content_type=None)
        assert isinstance(body, dict), body
        return answer.status


BODIES = {
    "deep-objects": (b'{"text":' * 100_000 + b"1" + b"}" * 100_000, {400}),
    "deep-lists": (b'{"text":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", {400}),
    "deep-behind-a-text": (b'{"a":"' + b'\\"' * 50_000 + b'","text":' + b"[" * 500_000, {400}),
    "too-large": (b'{"text":"' + b"x" * BODY_LIMIT + b'"}', {413}),
    "many-keys": (json.dumps({f"k{n}": n for n in range(200_000)}).encode(), {400}),
    "many-keys-deeper": (
        b'{"text":{' + b",".join(b'"%d":0' % n for n in range(300_000)) + b"}}",
        {400},
    ),
    "one-huge-number": (b'{"text":' + b"9" * 3_000_000 + b"}", {400}),
    "one-huge-exponent": (b'{"text":1e' + b"9" * 1_000_000 + b"}", {400}),
    "one-key-again": (b'{"text":"a"' + b',"text":"b"' * 300_000 + b"}", {200}),
    "many-values": (b'{"text":[' + b"0," * 2_000_000 + b"0]}", {400, 413}),
    "bad-text": (b'{"text":"\xff\xfe\\ud800"}', {400}),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a_body_that_asks_for_too_much_is_refused(tmp_path: Path, name: str) -> None:
    body, expected = BODIES[name]
    with served(tmp_path) as server:
        async with aiohttp.ClientSession() as session:
            before = resident(server.pid)
            headers = {**server.key, **JSON}
            assert await answered(session, server.url + CALL + "hi", body, headers) in expected
            message, more = rpc("tools/call", name="hi", arguments={})
            wrapped = (
                json.dumps(message).encode().replace(b'"arguments": {}', b'"arguments": ' + body)
            )
            status = await answered(session, server.url + "/mcp", wrapped, {**headers, **more})
            assert status in {200, 400, 413}
            status = await answered(session, server.url + "/api/v2/runs", body, headers)
            assert 400 <= status < 500
        assert resident(server.pid) - before < MEMORY
        await server.well()


async def test_an_answer_of_a_hundred_megabytes_fails_and_is_not_copied(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        async with aiohttp.ClientSession() as session:
            for given in ({"size": 100 << 20}, {"size": 100 << 20, "parts": 1000}):
                _, body, _ = await ask(session, server.url + CALL + "large", given, server.key)
                assert (body["outcome"], "larger than" in body["error"]) == ("failed", True)
                message, headers = rpc("tools/call", name="large", arguments=given)
                _, body, _ = await ask(
                    session, server.url + "/mcp", message, {**server.key, **headers}
                )
                assert body["result"]["isError"] is True
        assert resident(server.pid) < MEMORY + (100 << 20)
        await server.well()


async def test_a_pattern_that_takes_for_ever_does_not(tmp_path: Path) -> None:
    """ReDoS in a registered schema: it is refused, or its time is linear."""
    admin = make_key(tmp_path, "admin")
    with served(tmp_path) as server:
        async with aiohttp.ClientSession() as session:
            for number, pattern in enumerate((r"^(a+)+$", r"^(a|aa)*b$", r"(x+x+)+y", r"^(?=a)a$")):
                schema = {
                    "type": "object",
                    "properties": {"q": {"type": "string", "pattern": pattern}},
                }
                definition = {
                    "method": "GET",
                    "url": "https://example.com/{q}",
                    "input_schema": schema,
                }
                whole = {"kind": "http", "definition": definition}
                url = f"{server.url}/api/v2/tools/redos{number}"
                async with session.put(url, json=whole, headers=admin) as answer:
                    assert answer.status in (200, 201, 400), await answer.text()
                evil = {"q": "a" * 100_000 + "!"}
                began = time.process_time()
                status, *_ = await ask(
                    session, server.url + CALL + f"redos{number}", evil, server.key
                )
                assert status in (400, 403, 404)
                assert time.process_time() - began < LONG
        await server.well()


async def _raw(server: Server, *parts: bytes) -> bytes:
    """Send parts as fast as they are taken, and all that comes back until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(), LONG)
        return b""
    finally:
        writer.close()


async def test_a_head_without_an_end_is_cut_off(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        before = resident(server.pid)
        start = b"POST /mcp HTTP/1.1\r\nhost: localhost\r\n"
        long = [b"x" * (1 << 20)] * 100
        many = [b"x-%d: y\r\n" % n * 5_000 for n in range(1_000)]
        for parts in ([start, b"x-long: ", *long], [start, *many], [b"GET /", *long]):
            answer = await _raw(server, *parts)
            assert answer[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400", b"")
        assert resident(server.pid) - before < 16 * HEAD_LIMIT + (32 << 20)
        await server.well()


async def test_a_body_without_an_end_is_cut_off_whoever_sends_it(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        before = resident(server.pid)
        head = b"POST %s HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        chunked = b"transfer-encoding: chunked\r\n\r\n"
        chunk = b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
        trailers = [b"0\r\n", *[b"x-t: %s\r\n" % (b"y" * 60_000)] * 2_000]
        for auth in (b"", server.auth + b"\r\n"):
            for path in (b"/mcp", CALL.encode() + b"hi", b"/api/v2/runs"):
                start = (head % path) + auth + chunked
                answer = await _raw(server, start, *[chunk] * 100)
                assert answer[:12] in (b"HTTP/1.1 401", b"HTTP/1.1 413", b"")
                await _raw(server, start, b"2\r\n{}\r\n", *trailers)
        assert resident(server.pid) - before < 128 << 20
        await server.well()


SLOW = {
    "nothing": b"",
    "half-a-head": b"POST /mcp HTTP/1.1\r\nhost: localhost\r\n",
    "half-a-body": b"POST %b HTTP/1.1\r\nhost: localhost\r\n%b\r\n"
    b"content-type: application/json\r\ncontent-length: 100\r\n\r\n{",
    "half-a-body-refused": b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{",
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_client_that_sends_a_byte_now_and_then_is_left(tmp_path: Path, name: str) -> None:
    """Slow loris: two hundred of them, and others are served all the while."""
    with served(tmp_path, PATIENCE="1.5") as server:
        start = SLOW[name]
        if b"%b" in start:
            start %= (CALL.encode() + b"hi", server.auth)
        ends = 0

        async def loris() -> None:
            nonlocal ends
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(start)

            async def drip() -> None:
                while start:
                    writer.write(b"x")
                    await asyncio.sleep(0.3)

            dripping = asyncio.create_task(drip())
            try:
                with contextlib.suppress(ConnectionError):
                    text = await reader.read()
                    assert text[9:12] in (b"408", b"401", b""), text
                ends += 1
            finally:
                dripping.cancel()
                writer.close()

        tasks = [asyncio.create_task(loris()) for _ in range(200)]
        while not all(task.done() for task in tasks):
            await server.well()
            await asyncio.wait(tasks, timeout=0.2)
        await asyncio.gather(*tasks)
        assert ends == 200


async def test_a_client_that_does_not_take_its_answer_is_left(tmp_path: Path) -> None:
    with served(tmp_path, PATIENCE="1") as server:

        def sockets() -> int:
            names = []
            for one in Path(f"/proc/{server.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    names.append(str(one.readlink()))
            return sum(name.startswith("socket:") for name in names)

        before = sockets()
        body = b'{"size": 7000000}'
        head = b"POST %b HTTP/1.1\r\nhost: localhost\r\n%b\r\ncontent-type: application/json\r\n"
        head %= (CALL.encode() + b"large", server.auth)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        try:
            writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
            assert await reader.readexactly(12) == b"HTTP/1.1 200"
            assert sockets() == before + 1
            await until(lambda: sockets() == before)
        finally:
            writer.close()
        await server.well()


async def test_more_connections_than_there_may_be_are_told_so(tmp_path: Path) -> None:
    with served(tmp_path, CONNECTIONS="20") as server:
        kept = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            answer = await asyncio.wait_for(reader.read(), LONG)
            writer.close()
            assert answer.startswith(b"HTTP/1.1 503")
            assert b"retry-after: 1" in answer
            assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["success"] is False
        finally:
            for _, one in kept:
                one.close()
                await one.wait_closed()

        async def well() -> bool:
            with contextlib.suppress(aiohttp.ClientError, AssertionError):
                await server.well()
                return True
            return False

        async with asyncio.timeout(LONG):
            while not await well():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
