"""A server of the test tools as a program: what `pilotage serve` is, with other tools."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pilotage.server import serve
from pilotage.server.connection import Patience
from server.conftest import make_app


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--stdio", action="store_true")
    parser.add_argument("--tls-auto", action="store_true")
    parser.add_argument("--patience", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--connections", type=int, default=10_000)
    given = parser.parse_args()
    home = Path(os.environ["PILOTAGE_HOME"])
    app = make_app(home, home)
    try:
        if given.stdio:
            serve.serve_stdio(app)
        else:
            patience = Patience(given.patience, given.patience, given.patience, given.connections)
            options = serve.Options(port=0, tls_auto=given.tls_auto, patience=patience)
            serve.serve(app, options, lambda address, _: print(address, flush=True))
    finally:
        app.close()


if __name__ == "__main__":
    main()
