"""A tool server that answers registrations at once, so that a bench of operators measures them.

It keeps what it is told in a dict. The real server answers the same requests (server/routes).
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import msgspec
import uvicorn

_tools: dict[str, dict[str, Any]] = {}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """PUT and DELETE of one tool, GET of all of an owner, GET /count."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    name, method = scope["path"].rsplit("/", 1)[-1], scope["method"]
    status, said = 200, {}
    if method == "PUT":
        said = _tools[name] = _view(name, msgspec.json.decode(body))
    elif method == "DELETE":
        _tools.pop(name, None)
        status = 204
    elif name == "count":
        said = {"count": len(_tools)}
    else:
        said = {"tools": list(_tools.values())}
    data = b"" if status == 204 else msgspec.json.encode(said)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})


def _view(name: str, given: dict[str, Any]) -> dict[str, Any]:
    digest = hashlib.sha256(msgspec.json.encode([name, given])).hexdigest()[:32]
    stands = {"state": "ready", "why": "", "tools": [name]}
    return {"name": name, "owner": given["owner"], "tool_id": name, "etag": digest, **stands}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", lifespan="off")
