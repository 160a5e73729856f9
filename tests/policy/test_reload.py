"""A running server follows its policy's files; a broken one changes nothing and is on record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pilotage.domain.call import Answer, Effect, Principal
from pilotage.policy import policy
from pilotage.policy.reload import Reload

CI = Principal("key:ci", frozenset({"ci"}))
FORBID = '@id("stop")\nforbid (principal, action, resource);\n'


class Watched:
    """A policy whose files are looked at, and what was told of them."""

    def __init__(self, folder: Path) -> None:
        self.roles, self.rules = folder / "roles.yaml", folder / "policy.cedar"
        self.policy = policy.load()
        self.told: list[tuple[str, Mapping[str, Any]]] = []
        self.reload = Reload(
            self.policy, (self.roles, self.rules), lambda *words: self.told.append(words)
        )

    def look(self, times: int = 2) -> Answer:
        for _ in range(times):
            self.reload.look()
        return self.policy.decide(CI, "t", Effect.WRITE).answer


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_a_file_that_comes_changes_and_goes_counts(watched: Watched) -> None:
    assert watched.look() is Answer.ALLOW
    watched.rules.write_text(FORBID, "utf-8")
    assert watched.look() is Answer.DENY
    watched.rules.write_text(FORBID.replace("forbid", "permit"), "utf-8")
    assert watched.look() is Answer.ALLOW
    watched.roles.write_text("ci: {effects: [read]}\n", "utf-8")
    watched.rules.unlink()
    assert watched.look() is Answer.DENY
    assert [event for event, _ in watched.told] == ["policy.changed"] * 3
    for (_, before), (_, after) in zip(watched.told, watched.told[1:], strict=False):
        assert after["before"] == before["after"]
    assert watched.told[-1][1]["after"] == watched.policy.version


def test_a_broken_file_leaves_the_old_policy_and_is_told_once(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.rules.write_text(FORBID, "utf-8")
    watched.look()
    version = watched.policy.version
    watched.rules.write_text(FORBID + "permit (principal, action", "utf-8")
    assert watched.look(5) is Answer.DENY
    assert watched.policy.version == version
    assert [event for event, _ in watched.told] == ["policy.changed", "policy.broken"]
    assert "policy.cedar, line 3: " in watched.told[-1][1]["error"]
    assert "the policy stays as it was" in caplog.text
    watched.rules.write_text("", "utf-8")
    assert watched.look() is Answer.ALLOW


def test_half_a_file_is_not_taken(watched: Watched) -> None:
    watched.rules.write_text(FORBID, "utf-8")
    watched.look()
    watched.rules.write_text("", "utf-8")  # somebody writes it anew
    assert watched.look(1) is Answer.DENY
    watched.rules.write_text(FORBID, "utf-8")
    assert watched.look() is Answer.DENY
