"""Odd requests by 64 connections, and requests made from the OpenAPI document: no 5xx, no leak, the
record whole. `python -m bench.fuzz` does the same for ten minutes."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
from bench import fuzz

LOCK = Path(__file__).parents[2] / "checks" / "schemathesis.txt"
SECONDS, BODIES = 8.0, 3_000
GROWN = 64 << 20


@pytest.mark.parametrize("seed", [1])
async def test_nothing_that_is_sent_breaks_it(tmp_path: Path, seed: int) -> None:
    key = fuzz.make_key(tmp_path, "admin")
    with fuzz.server(tmp_path) as (process, port):
        seen = await fuzz.fuzz(
            port, process.pid, key, seconds=SECONDS, bodies=BODIES, connections=64, seed=seed
        )
        async with (
            asyncio.timeout(fuzz.LONG),
            aiohttp.ClientSession() as session,
        ):
            while "pilotage_calls_running 0.0" not in await metrics(session, port):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert seen.faults == []
    assert process.returncode == 0
    assert seen.answers["200"] > 300
    assert fuzz.grown(seen.memory) < GROWN, seen.memory
    assert fuzz.wrong_records(tmp_path) == []


async def metrics(session: aiohttp.ClientSession, port: int) -> str:
    async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return await answer.text()


def test_no_two_runs_of_a_seed_differ() -> None:
    one, other = fuzz.Maker(7, "k"), fuzz.Maker(7, "k")
    assert [one.request() for _ in range(200)] == [other.request() for _ in range(200)]


def test_what_the_openapi_document_allows_never_breaks_it(tmp_path: Path) -> None:
    """Schemathesis makes requests of every operation, good ones and others. A stream has no end."""
    home = tmp_path / "home"
    home.mkdir()
    key = fuzz.make_key(home, "admin")
    program = schemathesis(tmp_path / "venv")
    with fuzz.server(home) as (process, port):
        url = f"http://127.0.0.1:{port}"
        command = [
            *(str(program), "run", f"{url}/api/v2/openapi.json"),
            *("--header", f"Authorization: Bearer {key}"),
            *("--checks", "not_a_server_error", "--exclude-path-regex", "/events$"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "3", "--seed", "1"),
            *("--suppress-health-check", "all", "--warnings", "off", "--no-color"),
            *("--continue-on-failure", "--request-timeout", "60"),
        ]
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
        assert ran.returncode == 0, ran.stdout[-6_000:] + ran.stderr[-2_000:]
    assert process.returncode == 0
    made = re.search(r"(\d+) generated", ran.stdout)
    assert made is not None, ran.stdout[-6_000:]
    assert int(made[1]) > 300
    assert fuzz.wrong_records(home) == []


def schemathesis(place: Path) -> Path:
    """Its program, in an environment of its own: what it needs is not what we need."""
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(place)], check=True, timeout=300)
    install = ["pip", "install", "--require-hashes", "--python", str(place / "bin" / "python")]
    subprocess.run([*uv, *install, "--requirement", str(LOCK)], check=True, timeout=600)
    return place / "bin" / "st"
