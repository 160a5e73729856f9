"""A tiny HTTP API with something that can be lost: branches. Prints its address."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BRANCHES = {"main", "old-login", "old-logout"}


class Api(BaseHTTPRequestHandler):
    def do_DELETE(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        found = name in BRANCHES
        BRANCHES.discard(name)
        body = json.dumps({"deleted": name} if found else {"error": f"no branch {name}"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
