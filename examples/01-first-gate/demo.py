"""The demo behind `make demo`: a vulnerable application meets the gate, then its repaired copy.

It does what a user would: makes a key, starts the server on loopback, and runs one pipeline
against it. Everything it writes lies in out/demo; installs lie in the cache folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from prepare import prepare

HERE = Path(__file__).resolve().parent
OUT = Path("out/demo").resolve()
PIPELINE = HERE / "pipeline.yaml"
PILOTAGE = [sys.executable, "-m", "pilotage.cli.main"]
WAIT_SECONDS = 30


def say(text: str) -> None:
    """A heading."""
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def environment(**more: str) -> dict[str, str]:
    """A state folder of the demo's own, with its small advisory folder."""
    return {
        **os.environ,
        "PILOTAGE_HOME": str(OUT / "state"),
        "PILOTAGE_ADVISORIES": str(HERE / "advisories"),
        **more,
    }


def pilotage(*words: str, **more: str) -> int:
    """Run one command as a user would; its exit code."""
    return subprocess.run([*PILOTAGE, *words], env=environment(**more), check=False).returncode


def make_key() -> str:
    """A key for this demo alone: the text is shown once, by `keys create`."""
    words = [*PILOTAGE, "keys", "create", "demo", "--role", "ci", "--expires", "1d"]
    made = subprocess.run(words, env=environment(), check=True, capture_output=True, text=True)
    return next(word for word in made.stdout.split() if word.startswith("plt_"))


def start_server() -> tuple[subprocess.Popen[bytes], str]:
    """The embedded server on a free port of loopback, ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = (OUT / "server.log").open("wb")
    words = [*PILOTAGE, "serve", "--port", str(port), "--root", str(OUT)]
    server = subprocess.Popen(words, env=environment(), stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=1):
                return server, url
        except OSError:
            time.sleep(0.1)
    server.kill()
    raise SystemExit(f"the server did not start; see {OUT / 'server.log'}")


def run(which: str, url: str, key: str) -> int:
    """The pipeline over one of the two applications; its exit code."""
    source = prepare(which, OUT)
    return pilotage(
        "run",
        str(PIPELINE),
        "--input",
        f"source={source}",
        "--input",
        f"reports={OUT / 'reports' / which}",
        MCP_SERVER_URL=url,
        MCP_API_KEY=key,
    )


def main() -> int:
    """0 if the gate said what it had to: FAIL, then PASS."""
    began = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    say("1/4  scanners, each in an isolated environment pinned by hash")
    if code := pilotage("scanners", "install"):
        return code
    say("2/4  the server, on loopback, with a key and an empty audit")
    key = make_key()
    server, url = start_server()
    print(f"listening on {url}, state in {OUT / 'state'}")
    try:
        say("3/4  the vulnerable application (this run must FAIL)")
        bad = run("vulnerable", url, key)
        say("4/4  the repaired copy, same pipeline (this run must PASS)")
        good = run("repaired", url, key)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(WAIT_SECONDS)
    say("the audit of it all")
    pilotage("audit", "verify")
    return conclude(bad, good, time.monotonic() - began)


def conclude(bad: int, good: int, seconds: float) -> int:
    """Say what happened and what to try next."""
    page = OUT / "reports" / "vulnerable" / "security_scan_report.html"
    if (bad, good) != (1, 0) or not page.exists():
        wrong = f"expected exits 1 and 0, got {bad} and {good}"
        print(f"\nthe demo went wrong: {wrong}", file=sys.stderr)
        return 4
    say(f"done in {seconds:.0f} s: vulnerable FAIL, repaired PASS")
    print(f"report      {page}")
    print("the runs    PILOTAGE_HOME=out/demo/state .venv/bin/pilotage runs list")
    print("next, try   .venv/bin/pilotage scan DIR      (any checkout of yours)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
