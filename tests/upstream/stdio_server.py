"""A small MCP server on standard input and output (handshake era), as a program of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

TEXT = {"type": "object", "properties": {"how": {"type": "string"}}}
waiting: dict[str, Any] = {}


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(id: Any, text: str) -> None:
    say({"id": id, "result": {"content": [{"type": "text", "text": text}]}})


def call(id: Any, params: dict[str, Any]) -> None:
    how = params["arguments"].get("how", "")
    if how == "environment":
        answer(id, json.dumps(dict(os.environ)))
    elif how == "where":
        answer(id, json.dumps({"pid": os.getpid(), "cwd": os.getcwd(), "group": os.getpgid(0)}))
    elif how == "child":
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        answer(id, str(child.pid))
    elif how == "die":
        print("out of cheese", file=sys.stderr, flush=True)
        os._exit(3)
    elif how == "garbage":
        print("hello, I log to standard output", flush=True)
        answer(id, "fine")
    elif how == "endless":
        while True:
            sys.stdout.write("x" * 100_000)
    elif how == "progress":
        token = params["_meta"]["progressToken"]
        told = {"progressToken": token, "progress": 1, "total": 2, "message": "half"}
        say({"method": "notifications/progress", "params": told})
        answer(id, "done")
    elif how == "ask":
        waiting["q1"] = id
        asked = {"message": "who?", "requestedSchema": {"type": "object", "properties": {}}}
        say({"id": "q1", "method": "elicitation/create", "params": asked})
    elif how == "wait":
        waiting[str(id)] = id
    elif how == "change":
        say({"method": "notifications/tools/list_changed"})
        answer(id, "changed")
    else:
        answer(id, how)


def take(message: dict[str, Any]) -> None:
    id, method, params = message.get("id"), message.get("method"), message.get("params", {})
    if method == "initialize":
        info = {"name": "stdio", "version": "1"}
        told = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": info}
        say({"id": id, "result": told})
    elif method == "tools/list":
        tool = {"name": "do", "description": "does", "inputSchema": TEXT}
        say({"id": id, "result": {"tools": [tool]}})
    elif method == "tools/call":
        call(id, params)
    elif method == "notifications/cancelled":
        found = waiting.pop(str(params["requestId"]), None)
        with open(sys.argv[1], "a", encoding="utf-8") as file:
            file.write(f"cancelled {found is not None}\n")
    elif method is None:
        asked = waiting.pop(str(id), None)
        answer(asked, json.dumps(message.get("result") or message.get("error")))
    elif id is not None:
        say({"id": id, "result": {}})


def main() -> None:
    threading.Thread(target=lambda: (time.sleep(300), os._exit(9)), daemon=True).start()
    for line in sys.stdin:
        take(json.loads(line))


if __name__ == "__main__":
    main()
