"""A tool server that is ill, in a thread of the test."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Faulty(ThreadingHTTPServer):
    """Stands where a tool server should be. `how`: fail (500), hang, slow (hang, but for the
    question whether it is there), busy (429), or garbage."""

    daemon_threads = True
    how = "fail"
    asked = 0


class Handler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        server = self.server
        assert isinstance(server, Faulty)
        server.asked += 1
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        healthy = server.how == "slow" and self.path == "/healthz"
        if server.how in ("hang", "slow") and not healthy:
            time.sleep(600)
        body = b'{"error": "out of order"}' if server.how in ("fail", "busy") else b"<html>"
        body = b"{}" if healthy else body
        self.send_response({"fail": 500, "busy": 429}.get(server.how, 200))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def faulty(how: str) -> Iterator[Faulty]:
    server = Faulty(("127.0.0.1", 0), Handler)
    server.how = how
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
