"""Names under which no tool takes a staged file for more than its content.

A scanner's configuration must not configure it, an ignore list must not hide anything from it, a
folder it skips by itself must be read, and no name may break a report or a terminal. Such a name
gets a mark (`.bandit` -> `.bandit~1a2b3c4d`); the suffix stays, so the content is still scanned.
"""

from __future__ import annotations

import hashlib
import os
import re
from enum import Enum, auto

from pilotage.domain.text import visible


class Kind(Enum):
    """What a name is to the tools that will meet it."""

    PLAIN = auto()
    CONFIGURATION = auto()
    IGNORE_LIST = auto()
    SKIPPED_FOLDER = auto()
    HOSTILE = auto()


# pyproject.toml, setup.cfg, tox.ini and package.json stay: they belong to the project, and flags
# keep scanners from reading their own section there.
_CONFIGURATION = re.compile(
    r"""
      \.?(?:bandit|yamllint|pylintrc|shellcheckrc|kube-linter|grype|syft|ggshield|gitguardian
         |checkov|bridgecrew|hadolint|semgrep|opengrep|tfsec|kics|terrascan|betterleaks|gitleaks
         |trivy|zizmor|njsscan|mobsf|trufflehog3?|kingfisher|ansible-lint|dockle|actionlint
         |prospector|cfnlintrc|tflint|regula|auditjs|retirerc|secretlintrc|eslintrc|golangci
         |talismanrc|whispers|safety-policy|detect-secrets|ruff|flake8|osv-scanner|nancy)
         \.(?:ya?ml|toml|json|jsonc|ini|cfg|hcl|conf|rc)
    | \.(?:bandit|yamllint|shellcheckrc|flake8|hadolint|njsscan|mobsf|semgrep|tfsec|checkov|trivy
         |gitleaks|betterleaks|snyk|dcignore|ansible-lint|kics|grype|syft|whispers|talismanrc
         |pylintrc|cfnlintrc|eslintrc|secretlintrc|retirerc|semgrepconfig|auditjs|opengrep)
    | pylintrc | shellcheckrc
    | \.eslintrc\.[a-z]+ | eslint\.config\.[a-z]+ | \.secretlintrc\.[a-z]+
    | eslint-suppressions\.json | trivy-secret\.ya?ml | \.checkov\.baseline
    | \.secrets\.baseline | \.retireignore\.json
    | \.[a-z0-9]+(?:-[a-z0-9]+)*ignore\.ya?ml | \.?sonar-project\.properties
    | \.sonarcloud\.properties
    """,
    re.VERBOSE,
)
# Lists that tools obey on their own. The first group is every project's and not worth a record.
_COMMON_LISTS = frozenset((".gitignore", ".dockerignore", ".npmignore", ".prettierignore",
                           ".helmignore", ".gcloudignore", ".vercelignore"))  # fmt: skip
_LIST = re.compile(r"\.(?:[a-z0-9]+(?:-[a-z0-9]+)*)?ignore|\.nancy-ignore|\.ansible-lint-ignore")
_SKIPPED = frozenset(
    [
        "node_modules", "bower_components", "jspm_packages", "site-packages", "venv", ".venv",
        ".pyenv", ".direnv", "__pycache__", "__pypackages__", ".tox", ".nox", ".eggs", ".pants.d",
        ".mypy_cache", ".pytest_cache", ".ruff_cache", ".pytype", ".ipynb_checkpoints", ".hg",
        ".svn", ".bzr", "CVS", ".git-rewrite", ".terraform", ".serverless", ".vscode", "_build",
        "buck-out", "dist", ".env", ".yarn", ".npm",
    ]
)  # fmt: skip
_LONGEST = 160


def kind_of(name: str, parent: str, folder: bool) -> Kind:
    """What one component of a path is; `parent` is the path of the folder that holds it."""
    if _hostile(name):
        return Kind.HOSTILE
    if folder and (name in _SKIPPED or name.endswith(".egg")):
        return Kind.SKIPPED_FOLDER
    if parent == ".github/workflows":  # a workflow called zizmor.yml is a workflow
        return Kind.PLAIN
    if name in _COMMON_LISTS:
        return Kind.IGNORE_LIST
    if _CONFIGURATION.fullmatch(name) or _LIST.fullmatch(name):
        return Kind.CONFIGURATION
    return Kind.PLAIN


def alias(name: str, path: str, as_suffix: str = "") -> str:
    """Another name for `name`, which stands at `path`: plain ASCII where it was hostile, marked
    with a digest of the whole path so that it is the same in every scan, and with its own suffix
    or the one that is given."""
    mark = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
    safe = "".join(char if _harmless(char) else "_" for char in name)
    if safe.startswith("-"):
        safe = "_" + safe[1:]
    stem, dot, suffix = safe.rpartition(".")
    if not stem or len(suffix) > 16:
        stem, dot, suffix = safe, "", ""
    if as_suffix:
        if suffix.lower() != as_suffix:
            stem = safe
        dot, suffix = ".", as_suffix
    while len(os.fsencode(stem)) > _LONGEST:
        stem = stem[:-1]
    return f"{stem}~{mark}{dot}{suffix}"


def _hostile(name: str) -> bool:
    if name.startswith("-") or name != name.strip():
        return True
    return not all(map(_harmless, name))


def _harmless(char: str) -> bool:
    return char != "\\" and visible(char) == char
