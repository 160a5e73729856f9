"""The platform of a job is found by its variables, or the reader is told why it is not."""

from __future__ import annotations

import pytest

from pilotage import shelf
from pilotage.ci.detect import detect
from pilotage.ci.platform import Platform
from pilotage.domain.errors import BadInput

PLATFORMS = shelf.parts("pilotage.platforms", Platform)


@pytest.mark.parametrize(
    ("env", "name", "noted"),
    [
        ({}, "local-shell", ""),
        ({"GITHUB_ACTIONS": "true"}, "github-actions", ""),
        ({"GITHUB_ACTIONS": "true", "ACT": "true"}, "github-actions", ""),
        ({"GITHUB_ACTIONS": "true", "GITEA_ACTIONS": "true"}, "local-shell", "Gitea"),
        ({"GITHUB_ACTIONS": "true", "FORGEJO_ACTIONS": "true"}, "local-shell", "Forgejo"),
        ({"GITLAB_CI": "true"}, "local-shell", "GitLab"),
        ({"GITLAB_CI": "false"}, "local-shell", ""),
        (
            {"GITLAB_CI": "false", "CI_SERVER_URL": "x", "CI_PIPELINE_ID": "1", "CI_JOB_ID": "2"},
            "local-shell",
            "GitLab",
        ),
        ({"CI": "woodpecker", "CI_SERVER_URL": "x"}, "local-shell", "Woodpecker"),
        ({"JENKINS_URL": "x", "BUILD_ID": "1"}, "local-shell", "Jenkins"),
        ({"JENKINS_URL": "x"}, "local-shell", ""),
        ({"TF_BUILD": "True"}, "local-shell", "Azure"),
    ],
)
def test_a_job_is_known_by_its_variables(env: dict[str, str], name: str, noted: str) -> None:
    platform, note = detect(env, PLATFORMS)
    assert platform.name == name
    assert noted in note
    assert bool(noted) == bool(note)


def test_a_name_wins_over_the_variables() -> None:
    assert detect({"GITHUB_ACTIONS": "true"}, PLATFORMS, "local-shell")[0].name == "local-shell"


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BadInput, match="github-actions"):
        detect({}, PLATFORMS, "gihtub")
