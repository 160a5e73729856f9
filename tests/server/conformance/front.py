"""A house with one upstream, federated whole and without a prefix: whoever reaches it needs no key.

`python -m server.conformance.front URL` prints its address.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml

from pilotage import config
from pilotage.app import App
from pilotage.server import serve
from pilotage.tool.roots import roots


def main() -> None:
    home = Path(os.environ["PILOTAGE_HOME"])
    upstream = {
        "url": sys.argv[1],
        "prefix": "",
        "offers": ["tools", "prompts", "resources"],
        "effects": {"*": "read"},
    }
    given = {"egress": {"allow": "127.0.0.1"}, "upstreams": {"everything": upstream}}
    (home / "config.yaml").write_text(yaml.safe_dump(given), "utf-8")
    settings = config.read(environment={"PILOTAGE_HOME": str(home), "HOME": str(home)})
    app = App(settings, roots(home), ())
    try:
        options = serve.Options(port=0, insecure_local=True)
        serve.serve(app, options, lambda address, _: print(address, flush=True))
    finally:
        app.close()


if __name__ == "__main__":
    main()
