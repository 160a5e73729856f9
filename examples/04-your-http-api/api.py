"""A tiny HTTP API, such as a team has: tickets, behind a token. Prints its address."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = os.environ["TICKETS_TOKEN"]
TICKETS = {7: {"id": 7, "title": "The login page is slow", "state": "open", "notes": []}}


class Api(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        _, _, number, *more = self.path.split("/")
        ticket = TICKETS.get(int(number))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.send(401, {"error": "who are you?"})
        elif ticket is None:
            self.send(404, {"error": f"there is no ticket {number}"})
        elif more == ["notes"]:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            ticket["notes"].append(body["text"])
            self.send(201, ticket)
        else:
            self.send(200, ticket)

    def send(self, status: int, value: dict[str, object]) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
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
