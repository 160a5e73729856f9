"""The operator's key: what becomes of an operator whose server takes another one by now."""

from __future__ import annotations

import subprocess
import urllib.error
import urllib.request

from operator_rig import PILOTAGE, Rig, until


def healthz(port: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{port}/healthz", timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())


def test_an_operator_whose_key_is_refused_is_not_healthy_so_that_it_starts_again_with_the_new(
    rig: Rig,
) -> None:
    argv = rig.operators[0].argv
    address = argv[argv.index("--health-probe-bind-address") + 1]
    rig.apply("MCPTool", "good", {"builtin": "run_list"})
    rig.wait("mcptool", "good", "Ready")
    assert healthz(address) == "ok"
    argv = [str(PILOTAGE), "keys", "revoke", "the-cluster"]
    subprocess.run(argv, env=rig.house.environment, check=True, capture_output=True)
    until(lambda: "the API key the-cluster is revoked" in healthz(address), "a word of it")
    assert "[-]key: " in healthz(address)
