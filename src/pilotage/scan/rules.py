"""The rules of a scan: `security_scan_configs.yaml` of the article, and what we added to it.

The file is given by the caller. One that lies in the scanned repository never counts by itself.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NoReturn

import yaml

from pilotage.domain.errors import BadInput
from pilotage.domain.finding import ScanType, Severity
from pilotage.domain.text import visible

LEVELS = (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW)
KEYS = ("scan_tools", "risk_level_config", "scan_profiles", "optional", "in_source",
        "unknown_severity", "min_coverage", "require_evidence", "unread_allowed")  # fmt: skip
_DEFAULT = Path(__file__).with_name("default_rules.yaml")
_LARGEST = 1 << 20


class Action(StrEnum):
    """What happens when a level has more findings than its threshold."""

    FAIL = "fail"
    WARN = "warn"
    INFO = "info"


class InSource(StrEnum):
    """Whether a word in the source (nosec, noqa, ...) takes a finding out of the count."""

    NEVER = "never"
    WITH_REASON = "with_reason"
    ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class Level:
    """It acts when the count of findings exceeds `threshold`."""

    threshold: int
    action: Action


@dataclass(frozen=True, slots=True)
class Profile:
    """What is looked at, and the scanners that this profile does without."""

    types: frozenset[ScanType]
    leave_out: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rules:
    """`name` is printed in every reason; `digest` belongs to the key of a scan's content.

    `min_coverage` is a share (0 to 1); `unread_allowed` are globs as in `Pass.reads`.
    """

    name: str
    digest: str
    tools: Mapping[ScanType, tuple[str, ...]]
    levels: Mapping[Severity, Level]
    profiles: Mapping[str, Profile]
    optional: frozenset[str] = frozenset()
    in_source: InSource = InSource.NEVER
    unknown_severity: Severity = Severity.HIGH
    min_coverage: float = 1.0
    require_evidence: bool = False
    unread_allowed: tuple[str, ...] = ()


def load_rules(path: Path | None = None) -> Rules:
    """Read a rules file, ours where none is given. Raises BadInput naming the key and the mend."""
    if path is None:
        return parse_rules(_DEFAULT.read_bytes(), "default rules")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
    except OSError as error:
        raise BadInput(
            f"{visible(str(path))} cannot be read: {error.strerror}", "check the path of the rules"
        ) from None
    return parse_rules(data, visible(path.name))


def parse_rules(data: bytes, name: str) -> Rules:
    """Rules from a file's bytes; `name` stands in messages and reasons."""
    file = _File(name)
    content = file.load(data)
    tools = {ScanType(key): value for key, value in file.tools(content).items()}
    return Rules(
        name=name,
        digest=hashlib.sha256(data).hexdigest(),
        tools=tools,
        levels=file.levels(content),
        profiles=file.profiles(content, tools),
        optional=frozenset(file.names(content.get("optional", []), "optional")),
        in_source=InSource(file.one_of(content, "in_source", [m.value for m in InSource], "never")),
        unknown_severity=Severity(
            file.one_of(content, "unknown_severity", [*(s.value for s in LEVELS), "info"], "high")
        ),
        min_coverage=file.share(content.get("min_coverage", 1.0), "min_coverage"),
        require_evidence=file.truth(content.get("require_evidence", False), "require_evidence"),
        unread_allowed=file.names(content.get("unread_allowed", []), "unread_allowed"),
    )


class _File:
    """Checks values of one rules file; each error names the file, the key and the mend."""

    def __init__(self, name: str) -> None:
        self._name = name

    def wrong(self, key: str, what: str, hint: str) -> NoReturn:
        raise BadInput(f"{self._name}: {key} {what}", hint)

    def load(self, data: bytes) -> dict[str, Any]:
        if len(data) > _LARGEST:
            raise BadInput(f"{self._name} is larger than 1 MiB", "this is not a rules file")
        try:
            content = yaml.load(data, _Loader)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise BadInput(
                f"{self._name} is not YAML: {visible(' '.join(str(error).split()))[:300]}",
                "mend that line",
            ) from None
        return self.mapping(content, "the file", KEYS)

    def mapping(self, value: Any, key: str, known: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.wrong(key, f"is {_shown(value)}, not a mapping", "write keys: " + ", ".join(known))
        for each in value:
            if each not in known:
                self.wrong(key, f"has an unknown key {_shown(each)}", "known: " + ", ".join(known))
        return value

    def names(self, value: Any, key: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(v, str) and v for v in value):
            self.wrong(key, f"is {_shown(value)}", f"write a list of names: {key}: [a, b]")
        twice = sorted({visible(v) for v in value if value.count(v) > 1})
        if twice:
            self.wrong(key, f"names {twice[0]} twice", "name it once")
        return tuple(value)

    def truth(self, value: Any, key: str) -> bool:
        if not isinstance(value, bool):
            self.wrong(key, f"is {_shown(value)}", f"write {key}: true or {key}: false")
        return value

    def share(self, value: Any, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self.wrong(key, f"is {_shown(value)}", "write a share from 0 to 1, such as 0.9")
        return float(value)

    def one_of(
        self, content: dict[str, Any], key: str, known: list[str], default: str, within: str = ""
    ) -> str:
        value = content.get(key, default)
        key = within + key
        if not isinstance(value, str) or value not in known:
            self.wrong(key, f"is {_shown(value)}", "one of " + ", ".join(known))
        return value

    def tools(self, content: dict[str, Any]) -> dict[str, tuple[str, ...]]:
        if "scan_tools" not in content:
            self.wrong("scan_tools", "is missing", "write scan_tools: {code: [bandit], ...}")
        given = self.mapping(content["scan_tools"], "scan_tools", tuple(ScanType))
        tools = {key: self.names(value, f"scan_tools.{key}") for key, value in given.items()}
        if not any(tools.values()):
            self.wrong("scan_tools", "names no scanner", "write scan_tools: {code: [bandit], ...}")
        return tools

    def levels(self, content: dict[str, Any]) -> dict[Severity, Level]:
        if "risk_level_config" not in content:
            self.wrong(
                "risk_level_config", "is missing", "write risk_level_config: {critical: ...}"
            )
        given = self.mapping(content["risk_level_config"], "risk_level_config", LEVELS)
        return {level: self._level(given, level) for level in LEVELS}

    def _level(self, given: dict[str, Any], level: Severity) -> Level:
        key = f"risk_level_config.{level}"
        if level not in given:
            self.wrong(key, "is missing", f"write {level}: {{threshold: 0, action: fail}}")
        pair = self.mapping(given[level], key, ("threshold", "action"))
        threshold = pair.get("threshold")
        if isinstance(threshold, bool) or not isinstance(threshold, int) or threshold < 0:
            self.wrong(
                f"{key}.threshold", f"is {_shown(threshold)}", "write a whole number from 0 up"
            )
        if "action" not in pair:
            self.wrong(f"{key}.action", "is missing", "write action: fail, warn or info")
        action = self.one_of(pair, "action", [a.value for a in Action], "", f"{key}.")
        return Level(threshold, Action(action))

    def profiles(
        self, content: dict[str, Any], tools: Mapping[ScanType, tuple[str, ...]]
    ) -> dict[str, Profile]:
        """Without scan_profiles, the one profile `default` looks at all that has a scanner."""
        if "scan_profiles" not in content:
            return {"default": Profile(frozenset(key for key, names in tools.items() if names))}
        given = content["scan_profiles"]
        if not isinstance(given, dict) or not given:
            self.wrong("scan_profiles", f"is {_shown(given)}", "write default: {code: true, ...}")
        return {str(name): self._profile(str(name), value, tools) for name, value in given.items()}

    def _profile(self, name: str, value: Any, tools: Mapping[ScanType, tuple[str, ...]]) -> Profile:
        key = f"scan_profiles.{visible(name)}"
        given = self.mapping(value, key, (*ScanType, "leave_out"))
        types = frozenset(kind for kind in ScanType if self._looks_at(given, key, kind))
        for kind in sorted(types):
            if not tools.get(kind):
                self.wrong(
                    f"{key}.{kind}",
                    "is true, but scan_tools names no scanner for it",
                    f"name one under scan_tools.{kind}, or write {kind}: false",
                )
        if not types:
            self.wrong(key, "looks at nothing", "set one of its types to true")
        return Profile(types, frozenset(self.names(given.get("leave_out", []), f"{key}.leave_out")))

    def _looks_at(self, given: dict[str, Any], key: str, kind: ScanType) -> bool:
        if kind not in given:
            self.wrong(
                key,
                f"does not say whether to look at {kind}",
                f"write {kind}: true or {kind}: false",
            )
        return self.truth(given[kind], f"{key}.{kind}")


class _Loader(yaml.SafeLoader):
    """Refuses a key that is written twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, times in Counter(keys).items():
            if times > 1:
                raise yaml.YAMLError(f"{key} is written twice{node.start_mark}")
        return super().construct_mapping(node, deep)


def _shown(value: Any) -> str:
    return visible(repr(value))[:80]
