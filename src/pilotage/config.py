"""Settings, read once: file < environment < flags. Appendix A of the article, and ours.

The file is YAML, `$PILOTAGE_HOME/config.yaml` unless `--settings` names another; its keys may be
nested (`mcp: {pipeline: {timeout: 60}}`) or dotted. Nothing is ever read from the tree worked on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotage.domain.errors import BadInput
from pilotage.domain.text import did_you_mean


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its key in the file, its environment variable, its default and its bounds."""

    key: str
    env: str
    default: str | int | bool
    help: str
    low: int | None = None
    high: int | None = None
    choices: tuple[str, ...] = ()


SETTINGS: tuple[Setting, ...] = (
    Setting("mcp.serverUrl", "MCP_SERVER_URL", "", "server to use; empty: run everything here"),
    Setting("mcp.apiKey", "MCP_API_KEY", "", "API key for that server"),
    Setting("mcp.verifySSL", "MCP_VERIFY_SSL", True, "check the server's certificate"),
    Setting(
        "mcp.pipeline.timeout", "MCP_PIPELINE_TIMEOUT", 3600, "a run's limit, seconds", 1, 86400
    ),
    Setting(
        "mcp.pipeline.retryCount",
        "MCP_PIPELINE_RETRY_COUNT",
        0,
        "retries of a step that names none",
        0,
        10,
    ),
    Setting(
        "mcp.log.level",
        "MCP_LOG_LEVEL",
        "info",
        "log level",
        choices=("debug", "info", "warn", "error"),
    ),
    Setting(
        "mcp.log.format",
        "MCP_LOG_FORMAT",
        "text",
        "text, or json: one object a line",
        choices=("text", "json"),
    ),
    Setting("mcp.log.file", "MCP_LOG_FILE", "", "log file; empty: standard error"),
    Setting(
        "mcp.tools.listed",
        "MCP_TOOLS_LISTED",
        40,
        "most tools in one tools/list; with more, search_tools and call_tool reach the others",
        2,
        10_000,
    ),
    Setting(
        "mcp.artifact.uploadPath", "MCP_ARTIFACT_UPLOAD_PATH", "artifacts", "where artifacts go"
    ),
    Setting(
        "approvals.expire",
        "PILOTAGE_APPROVALS_EXPIRE",
        900,
        "how long an approval waits and counts, seconds",
        10,
        604800,
    ),
    Setting(
        "approvals.own",
        "PILOTAGE_APPROVALS_OWN",
        False,
        "let whoever asks approve it too, as the person at the client (MCP elicitation, a "
        "terminal), where a role manages approvals:own",
    ),
    Setting("limits.key.rate", "PILOTAGE_LIMITS_KEY_RATE", "", "calls of one key, 600/minute"),
    Setting(
        "limits.key.concurrency",
        "PILOTAGE_LIMITS_KEY_CONCURRENCY",
        128,
        "calls of one key that wait at once; 0: no limit",
        0,
        100_000,
    ),
    Setting("limits.tool.rate", "PILOTAGE_LIMITS_TOOL_RATE", "", "calls of one tool, by all keys"),
    Setting(
        "limits.tool.concurrency",
        "PILOTAGE_LIMITS_TOOL_CONCURRENCY",
        512,
        "calls of one tool that wait at once, of all keys; 0: no limit. "
        "limits.tools.NAME.rate and .concurrency (file only) say it of one tool",
        0,
        100_000,
    ),
    Setting(
        "limits.key_tool.rate",
        "PILOTAGE_LIMITS_KEY_TOOL_RATE",
        "",
        "calls of each tool by each key; a role says its own (roles.yaml, limits)",
    ),
    Setting(
        "limits.key_tool.concurrency",
        "PILOTAGE_LIMITS_KEY_TOOL_CONCURRENCY",
        0,
        "calls of each tool by each key that wait at once; 0: no limit",
        0,
        100_000,
    ),
    Setting(
        "limits.result_bytes",
        "PILOTAGE_LIMITS_RESULT_BYTES",
        8 << 20,
        "size of an answer; a larger one is a failure",
        1_024,
        1 << 30,
    ),
    Setting(
        "limits.cache_bytes",
        "PILOTAGE_LIMITS_CACHE_BYTES",
        32 << 20,
        "memory for answers of tools that may be cached",
        0,
        1 << 34,
    ),
    Setting(
        "idempotency.keep",
        "PILOTAGE_IDEMPOTENCY_KEEP",
        86_400,
        "how long the answer to a call under an idempotency key is kept, seconds",
        60,
        2_592_000,
    ),
    Setting(
        "idempotency.bytes",
        "PILOTAGE_IDEMPOTENCY_BYTES",
        64 << 20,
        "disk for these answers",
        0,
        1 << 34,
    ),
    Setting(
        "idempotency.keys",
        "PILOTAGE_IDEMPOTENCY_KEYS",
        100_000,
        "idempotency keys of one principal that are kept; one more is a 429",
        1,
        1_000_000,
    ),
    Setting("scan.network", "PILOTAGE_SCAN_NETWORK", False, "fetch images from their registry"),
    Setting(
        "egress.allow",
        "PILOTAGE_EGRESS_ALLOW",
        "",
        "hosts (host, host:port, *.domain) and networks (CIDR) that tools may call though they are "
        "inside or speak plain http; a list",
    ),
    Setting(
        "plugins",
        "PILOTAGE_PLUGINS",
        "",
        "packages, or their entry points, whose tools are offered (group pilotage.tools) once they "
        "are trusted (pilotage plugins trust); a list",
    ),
    Setting(
        "trusted_publishers",
        "PILOTAGE_TRUSTED_PUBLISHERS",
        "",
        "ed25519 keys (base64) that the signature of a plugin is checked by; a list",
    ),
    Setting(
        "tests.unsandboxed",
        "PILOTAGE_TESTS_UNSANDBOXED",
        False,
        "let build_and_test run a repository's code where there is no bubblewrap",
    ),
)
TOOL_LIMITS = "limits.tools."
_BY_KEY = {setting.key: setting for setting in SETTINGS}


@dataclass(frozen=True, slots=True)
class Settings:
    """`home` is the state folder (mode 0700), `cache` holds what can be made again. The policy is
    in `roles_file` and `rules_file` (Cedar), where they are there. `upstreams` are MCP servers
    whose tools are taken in, by name, as the file says it: see upstream/server.py. `tool_limits`
    are those of tools by name: TOOL.rate and TOOL.concurrency. `clusters` are those that tools may
    use, by name: see kubernetes/clusters.py."""

    home: Path
    cache: Path
    values: Mapping[str, str | int | bool]
    roles_file: Path | None = None
    programs: Mapping[str, str] | None = None
    rules_file: Path | None = None
    upstreams: Mapping[str, Any] = field(default_factory=dict)
    tool_limits: Mapping[str, str] = field(default_factory=dict)
    clusters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def authority(self) -> Path:
        """The certificate of the local authority that `pilotage serve --tls auto` makes; our own
        client trusts it where it exists."""
        return self.home / "tls" / "ca.pem"

    def text(self, key: str) -> str:
        return str(self.values[key])

    def number(self, key: str) -> int:
        return int(self.values[key])

    def flag(self, key: str) -> bool:
        return bool(self.values[key])

    def words(self, key: str) -> tuple[str, ...]:
        """A setting that is a list: parted by commas or spaces, or a YAML list in the file."""
        return tuple(str(self.values[key]).replace(",", " ").split())


def read(
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    file: Path | None = None,
) -> Settings:
    """Join the three sources. Flags whose value is None were not given."""
    env = os.environ if environment is None else environment
    home = state_folder(env)
    content = _load(file or home / "config.yaml", must_exist=file is not None)
    content = dict(content)
    upstreams = content.pop("upstreams", None) or {}
    clusters = content.pop("clusters", None) or {}
    if not isinstance(clusters, dict):
        raise BadInput("clusters in the settings file is no mapping", "NAME: {context: ...}")
    flat = _flatten(content)
    programs = {k[9:]: str(v) for k, v in flat.items() if k.startswith("scanners.")}
    own = "PILOTAGE_SCANNER_"
    programs |= {k[len(own) :].lower().replace("_", "-"): env[k] for k in env if k.startswith(own)}
    limits = _tool_limits(flat)
    for key in [k for k in flat if k.startswith(("scanners.", TOOL_LIMITS))]:
        del flat[key]
    unknown = sorted(set(flat) - set(_BY_KEY))
    if unknown:
        where = file or home / "config.yaml"
        hint = did_you_mean(unknown[0], _BY_KEY) or f"known: {', '.join(_BY_KEY)}"
        raise BadInput(f"unknown setting {unknown[0]!r} in {where}", hint)
    values = _values(flat, env, flags or {})
    roles, rules = (file if file.exists() else None for file in policy_files(home))
    return Settings(
        home, cache_folder(env), values, roles, programs, rules, upstreams, limits, clusters
    )


def _values(
    file: Mapping[str, Any], env: Mapping[str, str], flags: Mapping[str, Any]
) -> dict[str, str | int | bool]:
    """Each setting: its default, or what the last of the three that names it says."""
    values: dict[str, str | int | bool] = {s.key: s.default for s in SETTINGS}
    for setting in SETTINGS:
        given: list[tuple[Any, str]] = []
        if setting.key in file:
            given.append((file[setting.key], "the settings file"))
        if env.get(setting.env):
            given.append((env[setting.env], f"${setting.env}"))
        if flags.get(setting.key) is not None:
            given.append((flags[setting.key], "a flag"))
        for value, source in given:
            values[setting.key] = _checked(setting, value, source)
    return values


def _tool_limits(flat: Mapping[str, Any]) -> dict[str, str]:
    found = {k[len(TOOL_LIMITS) :]: str(v) for k, v in flat.items() if k.startswith(TOOL_LIMITS)}
    for key, value in found.items():
        tool, _, word = key.rpartition(".")
        if not tool or word not in ("rate", "concurrency"):
            raise BadInput(f"unknown setting {TOOL_LIMITS}{key!r}", "NAME.rate, NAME.concurrency")
        if word == "concurrency" and not value.isdecimal():
            raise BadInput(f"{TOOL_LIMITS}{key} is {value!r}", "write a whole number")
    return found


def policy_files(home: Path) -> tuple[Path, Path]:
    """Where a state folder keeps its roles and its rules in Cedar; either may be missing."""
    return home / "roles.yaml", home / "policy.cedar"


def state_folder(env: Mapping[str, str]) -> Path:
    """`$PILOTAGE_HOME`, else the platform's user state folder."""
    if env.get("PILOTAGE_HOME"):
        return Path(env["PILOTAGE_HOME"]).expanduser().absolute()
    base = env.get("XDG_STATE_HOME") or os.path.join(
        env.get("HOME") or os.path.expanduser("~"), ".local/state"
    )
    return Path(base) / "pilotage"


def cache_folder(env: Mapping[str, str]) -> Path:
    """`$PILOTAGE_CACHE`, else the platform's user cache folder."""
    if env.get("PILOTAGE_CACHE"):
        return Path(env["PILOTAGE_CACHE"]).expanduser().absolute()
    base = env.get("XDG_CACHE_HOME") or os.path.join(
        env.get("HOME") or os.path.expanduser("~"), ".cache"
    )
    return Path(base) / "pilotage"


def _load(path: Path, *, must_exist: bool) -> Mapping[str, Any]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        if must_exist:
            raise BadInput(f"no settings file {path}", "check --settings") from None
        return {}
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise BadInput(f"{path} is not YAML: {why}", "mend that line") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise BadInput(f"{path} must hold a mapping of settings")
    return content


def _flatten(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat.update(_flatten(value, path + "."))
        else:
            flat[path] = value
    return flat


def _checked(setting: Setting, value: Any, source: str) -> str | int | bool:
    where = f"{setting.key} from {source}"
    if isinstance(setting.default, bool):
        if isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "1", "yes", "false", "0", "no"):
            return str(value).lower() in ("true", "1", "yes")
        raise BadInput(f"{where} is {value!r}", "write true or false")
    if isinstance(setting.default, int):
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise BadInput(f"{where} is {value!r}", "write a whole number") from None
        if not (setting.low or 0) <= number <= (setting.high or number):
            raise BadInput(f"{where} is {number}", f"{setting.low} to {setting.high}")
        return number
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    if setting.choices and text not in setting.choices:
        raise BadInput(f"{where} is {text!r}", "one of " + ", ".join(setting.choices))
    return text
