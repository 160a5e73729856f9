"""When a word in the source takes a finding out of the count. Never, unless the policy says so.

Careful on purpose: the word must be one of the finding's own scanner, name the finding's rule where
it names rules at all, and stand where that scanner looks for it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilotage.domain.finding import Finding, Suppression
from pilotage.scan.rules import InSource

# A word's beginning -> the scanners that obey it.
_OBEY: tuple[tuple[str, frozenset[str]], ...] = (
    ("nosec", frozenset({"bandit", "gosec"})),
    ("noqa", frozenset({"ruff", "flake8"})),
    ("ruff", frozenset({"ruff"})),
    ("pylint", frozenset({"pylint"})),
    ("eslint-disable", frozenset({"eslint"})),
    ("gitleaks:allow", frozenset({"gitleaks", "betterleaks"})),
    ("betterleaks:allow", frozenset({"betterleaks"})),
    ("trivy", frozenset({"trivy"})),
    ("tfsec", frozenset({"tfsec", "trivy"})),
    ("checkov", frozenset({"checkov"})),
    ("bridgecrew", frozenset({"checkov"})),
    ("hadolint", frozenset({"hadolint"})),
    ("zizmor", frozenset({"zizmor"})),
    ("nosem", frozenset({"semgrep", "opengrep", "njsscan"})),
    ("pragma", frozenset({"detect-secrets"})),
    ("shellcheck", frozenset({"shellcheck"})),
)
_NEXT_LINE = ("eslint-disable-next-line", "hadolint ignore", "trivy:", "tfsec:", "shellcheck")
_WHOLE_FILE = ("pylint: skip-file", "pylint:skip-file", "hadolint global")


def suppression_of(
    finding: Finding, suppressions: Sequence[Suppression], in_source: InSource
) -> Suppression | None:
    """The word that suppresses a finding under this policy, or None."""
    if in_source is InSource.NEVER:
        return None
    for each in suppressions:
        reasoned = in_source is InSource.ALWAYS or bool(each.reason)
        if reasoned and each.path == finding.location.path and _applies(each, finding):
            return each
    return None


def _applies(suppression: Suppression, finding: Finding) -> bool:
    word = suppression.word.lower()
    obey = next((scanners for start, scanners in _OBEY if word.startswith(start)), frozenset())
    if finding.scanner not in obey or finding.location.commit or not suppression.line:
        return False
    return _names_rule(word, finding) and _reaches(word, suppression.line, finding)


def _names_rule(word: str, finding: Finding) -> bool:
    """Whether the rules that a word names hold the finding's; a word without rules holds all."""
    named = [part for part in word.split() if _is_rule(part)]
    rule = finding.rule.lower()
    return not named or any(each in ("*", "all", rule) or each in rule.split("/") for each in named)


def _is_rule(part: str) -> bool:
    if part.startswith(tuple(start for start, _ in _OBEY)):
        return False
    return part not in ("disable", "disable-next", "ignore", "global", "skip-file", "enable")


def _reaches(word: str, line: int, finding: Finding) -> bool:
    at = finding.location
    if word.startswith(_WHOLE_FILE):
        return True
    if at.line is None:
        return False
    if word.startswith("eslint-disable-next-line") or "disable-next" in word.split():
        return at.line == line + 1
    if word.startswith("eslint-disable") and not word.startswith("eslint-disable-line"):
        return at.line >= line
    if word.startswith(_NEXT_LINE) and at.line == line + 1:
        return True
    return at.line <= line <= (at.end_line or at.line)
