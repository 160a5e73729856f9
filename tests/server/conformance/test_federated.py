"""The official conformance suite through federation: the SDK's own everything-server stands behind
us, and every scenario that is scored must pass, by name.

The everything-server comes from the SDK's source distribution, as uv.lock names it.
"""

from __future__ import annotations

import hashlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pilotage import config
from server.conformance.running import TOOLS, Results, failures, run
from waiting import LONG

ROOT = Path(__file__).parents[3]
SHARED = (
    "completion-complete",
    "tools-list",
    *TOOLS,
    "server-sse-multiple-streams",
    "resources-list",
    "resources-read-text",
    "resources-read-binary",
    "resources-templates-read",
    "prompts-list",
    "prompts-get-simple",
    "prompts-get-with-args",
    "prompts-get-embedded-resource",
    "prompts-get-with-image",
    "dns-rebinding-protection",
    "json-schema-2020-12",
)
SCENARIOS = {
    "2025-11-25": (
        *SHARED,
        "server-initialize",
        "ping",
        "logging-set-level",
        "tools-call-with-logging",
        "tools-call-sampling",
        "tools-call-elicitation",
        "elicitation-sep1034-defaults",
        "elicitation-sep1330-enums",
        "resources-subscribe",
        "resources-unsubscribe",
        "server-session-lifecycle",
    ),
    "2026-07-28": (
        *SHARED,
        "server-stateless",
        "sep-2164-resource-not-found",
        "caching",
        "input-required-result-basic-elicitation",
        "input-required-result-basic-sampling",
        "input-required-result-basic-list-roots",
        "input-required-result-request-state",
        "input-required-result-multiple-input-requests",
        "input-required-result-multi-round",
        "input-required-result-missing-input-response",
        "input-required-result-non-tool-request",
        "input-required-result-result-type",
        "input-required-result-unsupported-methods",
        "input-required-result-tampered-state",
        "input-required-result-capability-check",
        "input-required-result-ignore-extra-params",
        "input-required-result-validate-input",
        "http-header-validation",
        "http-custom-header-server-validation",
    ),
}
SCORED = {"2025-11-25": 30, "2026-07-28": 37}
BEYOND = {
    "json-schema-2020-12",
    "server-session-lifecycle",
    "http-header-validation",
    "http-custom-header-server-validation",
}
"""What is not scored, and passes as well."""


@pytest.fixture(scope="session")
def everything() -> Path:
    """The folder with the package of the everything-server."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    package = next(one for one in lock["package"] if one["name"] == "mcp")
    folder = config.cache_folder(os.environ) / f"everything-server-{package['version']}"
    if folder.exists():
        return folder
    try:
        with urllib.request.urlopen(package["sdist"]["url"], timeout=60) as answer:
            whole = answer.read()
    except OSError as error:
        if os.environ.get("CI"):
            pytest.fail(f"the SDK's source cannot be fetched: {error}")
        pytest.skip(f"the SDK's source cannot be fetched: {error}")
    assert "sha256:" + hashlib.sha256(whole).hexdigest() == package["sdist"]["hash"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as made:
        with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
            inside = "examples/servers/everything-server/mcp_everything_server/"
            for member in archive.getmembers():
                _, _, path = member.name.partition("/")
                if path.startswith(inside) and member.isfile():
                    member.name = path.removeprefix("examples/servers/everything-server/")
                    archive.extract(member, made, filter="data")
        try:
            Path(made).rename(folder)
        except OSError:  # another run was first
            assert folder.exists()
    return folder


@contextmanager
def program(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="session")
def address(everything: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = [sys.executable, "-m", "mcp_everything_server", "--port", str(port)]
    server += ["--log-level", "ERROR"]
    with program(server, {**os.environ, "PYTHONPATH": str(everything)}):
        _until_listening(port)
        env = {
            **os.environ,
            "PILOTAGE_HOME": str(tmp_path_factory.mktemp("home")),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        url = f"http://127.0.0.1:{port}/mcp"
        with program([sys.executable, "-m", "server.conformance.front", url], env) as front:
            assert front.stdout is not None
            yield front.stdout.readline().strip()


def _until_listening(port: int) -> None:
    until = time.monotonic() + LONG
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert time.monotonic() < until
            time.sleep(0.05)


@pytest.fixture(scope="session")
def results(
    suite: Path, address: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Results]:
    """For each requirement set, the checks of each scenario that ran."""
    out = tmp_path_factory.mktemp
    return {one: run(suite, address, one, out("conformance")) for one in SCENARIOS}


@pytest.mark.parametrize(
    ("revision", "scenario"),
    [(revision, name) for revision, names in SCENARIOS.items() for name in names],
)
def test_the_scenario_passes_through_federation(
    results: dict[str, Results], revision: str, scenario: str
) -> None:
    assert failures(results[revision], scenario) == {}


@pytest.mark.parametrize("revision", SCENARIOS)
def test_every_scored_scenario_is_named(revision: str) -> None:
    assert len(set(SCENARIOS[revision]) - BEYOND) == SCORED[revision]
