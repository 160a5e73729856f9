"""The shop: what an article costs, over HTTP. /healthz says whether it can tell."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PRICES = {"apple": 3, "pear": 4}


def prices() -> dict[str, int]:
    """Ours, or those of a file that $SHOP_PRICES names."""
    named = os.environ.get("SHOP_PRICES")
    return json.loads(Path(named).read_text("utf-8")) if named else PRICES


class Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        try:
            known = prices()
        except OSError as error:
            self.say(503, {"error": str(error)})
            return
        if self.path == "/healthz":
            self.say(200, {"version": os.environ["SHOP_VERSION"]})
        else:
            article = self.path.strip("/")
            self.say(200 if article in known else 404, {"price": known.get(article)})

    def say(self, status: int, what: object) -> None:
        body = json.dumps(what).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Shop).serve_forever()
