"""Which CI system this job belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pilotage.ci.platform import Env, Platform
from pilotage.domain.errors import BadInput

FALLBACK = "local-shell"


def _has(*names: str) -> Callable[[Env], bool]:
    return lambda env: all(env.get(name) for name in names)


OTHERS: Mapping[str, Callable[[Env], bool]] = {
    "Gitea Actions": _has("GITEA_ACTIONS"),
    "Forgejo Actions": _has("FORGEJO_ACTIONS"),
    "Woodpecker": lambda env: env.get("CI") == "woodpecker",
    "GitLab CI": lambda env: (
        env.get("GITLAB_CI") == "true" or _has("CI_SERVER_URL", "CI_PIPELINE_ID", "CI_JOB_ID")(env)
    ),
    "Jenkins": _has("JENKINS_URL", "BUILD_ID"),
    "CircleCI": _has("CIRCLECI"),
    "Azure Pipelines": _has("TF_BUILD"),
    "Bitbucket Pipelines": _has("BITBUCKET_BUILD_NUMBER"),
    "Buildkite": _has("BUILDKITE"),
    "Drone": _has("DRONE"),
    "AWS CodeBuild": _has("CODEBUILD_BUILD_ARN"),
    "TeamCity": _has("TEAMCITY_VERSION"),
    "Travis CI": _has("TRAVIS"),
    "AppVeyor": _has("APPVEYOR"),
    "Cirrus CI": _has("CIRRUS_CI"),
    "Semaphore": _has("SEMAPHORE"),
    "Argo Workflows": _has("ARGO_TEMPLATE"),
}
"""Systems that are known by their variables and have no platform here. The first that fits is
named. gitlab-ci-local sets GITLAB_CI=false; Woodpecker sets CI_* as GitLab does.
Source: npm ci-info vendors.json, env-ci 11."""


def detect(env: Env, platforms: Mapping[str, Platform], name: str = "") -> tuple[Platform, str]:
    """The platform named, else the one whose marker fits, else the local shell; and a line to
    print where that is less than the job could hope for."""
    if name:
        if name not in platforms:
            raise BadInput(f"there is no platform {name!r}", f"one of {', '.join(platforms)}")
        return platforms[name], ""
    fits = [platform for platform in platforms.values() if platform.marker(env)]
    if len(fits) > 1:
        both = " and ".join(platform.name for platform in fits)
        raise BadInput(f"the variables of this job are those of {both}", "name one: --platform")
    if fits:
        return fits[0], ""
    other = next((system for system, marker in OTHERS.items() if marker(env)), "")
    note = f"{other} is not supported yet: outputs are only printed (--platform)" if other else ""
    return platforms[FALLBACK], note
