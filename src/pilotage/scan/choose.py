"""Which pass of which scanner looks at this project, and why; or why not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from pilotage.domain.call import Outcome
from pilotage.domain.errors import BadInput
from pilotage.domain.finding import ScanType
from pilotage.domain.scan import Choice, Inventory, ScannerRun
from pilotage.domain.text import counted, visible
from pilotage.scan.inventory import matching
from pilotage.scan.rules import Profile, Rules
from pilotage.scan.scanner import Pass, Scanner

# Scanners of the article that are not on our shelf, and what each needs.
_SERVICES = {
    "sonarqube": "a SonarQube server and a token",
    "clair": "a Clair server",
    "anchore": "an Anchore server",
    "snyk": "the Snyk program and a token",
    "ossindex": "an OSS Index token",
    "dependency-check": "OWASP Dependency-Check and its data",
    "tfsec": "the tfsec program (its successor is trivy)",
    "trufflehog": "the TruffleHog program",
}
_NAMED = 4
LANGUAGES = frozenset(
    ("python", "javascript", "typescript", "go", "java", "c", "csharp", "php", "ruby", "rust")
)
"""Kinds that are programs: what nobody looks at in one of these keeps a scan from PASS."""
_SOURCES = ("python", "javascript", "typescript", "shell", "go", "java", "c", "csharp", "php",
            "ruby", "rust", "dockerfile", "terraform", "github-workflow", "gitlab-ci",
            "jenkinsfile", "kubernetes", "cloudformation", "helm-chart", "python-lock", "npm-lock",
            "go-lock", "ruby-lock", "php-lock", "rust-lock", "java-lock")  # fmt: skip


def choose(
    scanners: Mapping[str, Scanner],
    rules: Rules,
    inventory: Inventory,
    *,
    profile: str = "default",
    types: Collection[ScanType] = (),
    only: Collection[str] = (),
    image: str | None = None,
) -> tuple[Choice, ...]:
    """One Choice for each pass that the policy or `only` names, chosen or not, each with why.

    `types` takes the place of the profile's; `only` names scanners, which the policy need not do.
    Raises BadInput for an unknown profile or scanner, and for an image nobody would look at.
    """
    wanted = _profile(rules, profile)
    choices: list[Choice] = []
    for kind in ScanType:
        if types:
            asked, why = kind in types, f"{kind} was not asked for"
        else:
            asked = kind in wanted.types or bool(only)
            why = f"the profile {visible(profile)} does not look at {kind}"
        for name in _named(scanners, rules, kind, only):
            if not asked:
                choices.append(Choice(name, "", kind, False, why, False))
            elif not only and name in wanted.leave_out:
                left = f"the profile {visible(profile)} leaves {visible(name)} out"
                choices.append(Choice(name, "", kind, False, left, False))
            else:
                choices += _passes(scanners.get(name), name, kind, rules, inventory, image)
    if image is not None:
        _refuse_unseen_image(scanners, choices)
    return tuple(choices)


def _refuse_unseen_image(scanners: Mapping[str, Scanner], choices: Sequence[Choice]) -> None:
    chosen = (each for each in choices if each.chosen and each.pass_name)
    if not any(_target(scanners, each) == "image" for each in chosen):
        raise BadInput(
            "an image was given, but no chosen scanner looks at images",
            "name trivy under scan_tools.container and let the profile look at container",
        )


def unavailable(choice: Choice) -> ScannerRun:
    """The run of a chosen scanner that is not there: it ended before it began."""
    return ScannerRun(
        choice.scanner, choice.pass_name, choice.type, Outcome.UNAVAILABLE, choice.why,
        required=choice.required,
    )  # fmt: skip


def unlooked(
    scanners: Mapping[str, Scanner], inventory: Inventory, choices: Sequence[Choice]
) -> dict[str, tuple[str, ...]]:
    """By kind of source, the files that no chosen pass reads, but those that read everything."""
    globs = [
        glob
        for choice in choices
        if choice.chosen and choice.pass_name and _target(scanners, choice) == "stage"
        for glob in _pass(scanners, choice).reads
        if glob not in ("*", "**", "**/*")
    ]
    left = {}
    for kind in _SOURCES:
        files = inventory.kinds.get(kind, ())
        read = set(matching(globs, files))
        left[kind] = tuple(path for path in files if path not in read)
    return {kind: files for kind, files in left.items() if files}


def unlooked_notes(left: Mapping[str, Sequence[str]], inventory: Inventory) -> tuple[str, ...]:
    """The same in sentences."""
    return tuple(
        f"{kind}: no chosen scanner knows {len(files)} of "
        f"{counted(len(inventory.kinds[kind]), 'file')} "
        f"({visible(files[0])}{', ...' if files[1:] else ''})"
        for kind, files in left.items()
    )


def _profile(rules: Rules, name: str) -> Profile:
    if name not in rules.profiles:
        raise BadInput(
            f"{rules.name} has no profile {visible(name)!r}",
            "it has " + ", ".join(visible(each) for each in rules.profiles),
        )
    return rules.profiles[name]


def _named(
    scanners: Mapping[str, Scanner], rules: Rules, kind: ScanType, only: Collection[str]
) -> Iterator[str]:
    if not only:
        yield from rules.tools.get(kind, ())
        return
    for name in dict.fromkeys(only):
        named = [each for each, tools in rules.tools.items() if name in tools]
        if name not in scanners and not named:
            raise BadInput(
                f"there is no scanner {visible(name)!r}", "known: " + ", ".join(sorted(scanners))
            )
        if kind in named if name not in scanners else _passes_of(scanners[name], kind):
            yield name


def _passes(
    scanner: Scanner | None,
    name: str,
    kind: ScanType,
    rules: Rules,
    inventory: Inventory,
    image: str | None,
) -> list[Choice]:
    required = name not in rules.optional
    if scanner is None:
        return [Choice(name, "", kind, True, _absent(name), required)]
    passes = _passes_of(scanner, kind)
    if not passes:
        why = f"{visible(name)} has nothing here that looks at {kind}"
        return [Choice(name, "", kind, True, why, required)]
    choices = []
    for each in passes:
        chosen, why = _reads(each, inventory, image)
        choices.append(Choice(name, each.name, kind, chosen, why, required))
    return choices


def _absent(name: str) -> str:
    needs = _SERVICES.get(name)
    would = f" (it needs {needs})" if needs else ""
    return f"{visible(name)} is not a part of this installation{would}"


def _reads(each: Pass, inventory: Inventory, image: str | None) -> tuple[bool, str]:
    """Whether there is something to read for a pass, and what."""
    if each.target == "image":
        if image is None:
            return False, "no image was given"
        return True, f"the image {visible(image)}"
    if each.target == "history":
        if not inventory.has_history:
            return False, "there is no git history to read"
        return True, "the git history"
    files = matching(each.reads, inventory.files)
    if not files:
        named = ", ".join(each.reads[:_NAMED]) + (", ..." if each.reads[_NAMED:] else "")
        return False, f"nothing to read: no file matches {named}"
    more = ", ..." if files[1:] else ""
    return True, f"{counted(len(files), 'file')} to read ({visible(files[0])}{more})"


def _passes_of(scanner: Scanner, kind: ScanType) -> list[Pass]:
    return [each for each in scanner.passes if each.type is kind]


def _pass(scanners: Mapping[str, Scanner], choice: Choice) -> Pass:
    return next(
        each
        for each in scanners[choice.scanner].passes
        if each.name == choice.pass_name and each.type is choice.type
    )


def _target(scanners: Mapping[str, Scanner], choice: Choice) -> str:
    return _pass(scanners, choice).target
