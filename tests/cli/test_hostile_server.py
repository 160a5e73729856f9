"""A server that is not to be trusted: the terminal of who asks obeys nothing that it says."""

from __future__ import annotations

import http.server
import io
import json
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotage.cli.main import main

POISON = "\x1b]52;c;cm0gLXJm\x07\x1b[2J\x9b31m\x7f\u202e\u200b\nPASS: all is well"
"""It writes the clipboard, wipes the screen (ESC, and CSI as one character), turns letters around,
hides some, and begins a line of its own."""
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u202e]|^PASS", re.MULTILINE)
TOOL = dict.fromkeys(
    ("name", "state", "why", "summary", "effect", "may", "owner", "kind", "tool_id", "etag"), POISON
) | {"description": "plain", "input_schema": {POISON: POISON}, "definition": None, "timeout": 1.0}
PIN = dict.fromkeys(
    ("name", "owner", "source", "why", "approved", "approved_by", "seen", "diff"), POISON
) | {"state": "quarantined", "warnings": [POISON], "diff": ""}
RUN: dict[str, Any] = {"id": POISON, "pipeline": POISON, "state": "ended", "outcome": "failed"}
RUN |= {"principal": POISON, "created": 1, "changed": 1}
ANSWERS: dict[str, tuple[int, Any]] = {
    "/api/v2/tools/call/refused": (400, {"error": POISON, "hint": POISON}),
    "/api/v2/tools/call/waits": (403, {"error": POISON, "hint": POISON, "approval": {"id": "A"}}),
    "/api/v2/tools/call/ran": (200, {"success": True, POISON: POISON, "warnings": [POISON]}),
    "/api/v2/tools": (200, {"tools": [TOOL]}),
    "/api/v2/tools/one": (200, TOOL),
    "/api/v2/tools/one/diff": (200, PIN),
    "/api/v2/runs": (200, {"runs": [RUN], "next": None}),
}


class _Hostile(http.server.BaseHTTPRequestHandler):
    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        status, body = ANSWERS[self.path.partition("?")[0]]
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = _answer

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Hostile)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("PILOTAGE_HOME", str(tmp_path))
    monkeypatch.setenv("MCP_SERVER_URL", f"http://127.0.0.1:{server.server_port}")
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "words",
    [
        ["call", "refused"],
        ["call", "waits"],
        ["call", "ran"],
        ["tools", "list"],
        ["tools", "list", "--json"],
        ["tools", "show", "one"],
        ["tools", "show", "one", "--json"],
        ["tools", "diff", "one"],
        ["tools", "put", "one", "--builtin", "scan"],
        ["runs", "list"],
    ],
    ids=" ".join,
)
def test_what_it_says_is_spelled_out(
    words: list[str], hostile: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = _Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    main(words)
    said = screen.getvalue()
    assert "x1b" in said or "u001b" in said, "the poison never came"
    assert OBEYED.findall(said) == []


def test_json_on_a_terminal_is_json(hostile: None, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = _Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    assert main(["tools", "show", "one", "--json"]) == 0
    assert json.loads(screen.getvalue())["summary"] == POISON
