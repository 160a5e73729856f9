"""An upstream MCP server as declared: where it is, what of it is taken in, under what names."""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from pilotage.domain.call import Effect
from pilotage.domain.errors import BadInput
from pilotage.domain.registration import check_name
from pilotage.upstream.egress import read_url
from pilotage.upstream.repeats import Repeats
from pilotage.upstream.secrets import Header, check_headers, told

NAME_LIMIT = 64
OFFERS = ("tools", "prompts", "resources")
_PREFIX = re.compile(r"[A-Za-z0-9_.-]{1,45}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,63}")
_TOOL = re.compile(r"[A-Za-z0-9_.-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OURS = re.compile(r"(?i)mcp-.*|accept|last-event-id|cookie")
_LOADS_CODE = re.compile(
    r"(?i)LD_.*|DYLD_.*|NODE_OPTIONS|NODE_PATH|PYTHON.*|PERL5.*|RUBY(OPT|LIB)|JAVA_TOOL_OPTIONS"
    r"|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|BASH_ENV|ENV|SHELLOPTS|PS4|IFS|GCONV_PATH|GIT_.*|PATH"
    r"|NPM_CONFIG_.*|BUN_.*|DENO_.*|DOTNET_STARTUP_HOOKS|CORECLR_.*|COR_.*"
)
"""Variables by which a program is made to load code, or another program is found."""
RESERVED = re.compile(r"(?i)(pilotage|gateway|house)([_.-].*)?|rpc\..*|call_tool|search_tools")


@dataclass(frozen=True, slots=True)
class Upstream:
    """One server. Times in seconds, sizes in bytes.

    Either `url` (streamable HTTP) or `argv` (stdio; from the administrator's settings file only).
    `headers` and `env` hold texts, or secrets by name ({"secret": NAME, "prefix": TEXT}). `prefix`
    None: one is put before a name only where that is taken, and then it is `name`; "": never.
    With a `namespace`, None puts `name` before each name that is not given by `rename`: what a tool
    is called does not depend on who else is there, or came first.
    `allow` are globs of the server's own tool names, `rename` gives some of them others.
    `effects` are globs of the server's own tool names with what those tools may do to the world;
    the rest `write`, or destroy where the server says so: what a server says of itself can make it
    stricter, never laxer, unless `trusted`. `offers` beyond tools are the server's prompts (with
    completion) and resources (with subscriptions). `parallel` calls run at once, and as many again
    wait. `namespace`: a name with a dot begins with it, since what stands before a dot belongs to
    somebody. `refresh` is how often the catalogue is read anew where the server announces no
    change. `repeats`: which tools are idempotent, whose calls are tried again, and whose answers
    are kept.
    """

    name: str
    owner: str = "settings"
    url: str = ""
    argv: tuple[str, ...] = ()
    env: Mapping[str, Header] = field(default_factory=dict)
    headers: Mapping[str, Header] = field(default_factory=dict)
    prefix: str | None = None
    namespace: str = ""
    allow: tuple[str, ...] = ("*",)
    rename: Mapping[str, str] = field(default_factory=dict)
    effects: Mapping[str, Effect] = field(default_factory=dict)
    trusted: bool = False
    repeats: Repeats = field(default_factory=Repeats)
    offers: tuple[str, ...] = ("tools",)
    timeout: float = 60.0
    parallel: int = 64
    refresh: float = 300.0
    result_limit: int = 8 << 20
    tool_limit: int = 500

    @property
    def pinned(self) -> str:
        """Where its calls go, and what goes along: a secret by its name."""
        return f"{self.where}{told({**self.headers, **self.env})}"

    @property
    def where(self) -> str:
        """Where its calls go, without secrets."""
        return self.url or "stdio:" + " ".join(self.argv)

    @property
    def origin(self) -> str:
        """To where its secrets go; that of a program is stdio:NAME."""
        return str(read_url(self.url).origin()) if self.url else f"stdio:{self.name}"

    def takes(self, tool: str) -> bool:
        """Is this tool of the server's taken in?"""
        return any(fnmatch.fnmatchcase(tool, glob) for glob in self.allow)

    def effect(self, tool: str, annotations: Mapping[str, Any]) -> Effect:
        """What a tool may do to the world, as far as we believe it."""
        for glob, effect in self.effects.items():
            if fnmatch.fnmatchcase(tool, glob):
                return effect
        if (
            annotations.get("destructiveHint") is True
            and annotations.get("readOnlyHint") is not True
        ):
            return Effect.DESTROY
        if self.trusted and annotations.get("readOnlyHint") is True:
            return Effect.READ
        return Effect.WRITE

    def exposed(self, tool: str, *, apart: bool = False) -> str:
        """The name under which we show a tool: renamed, with the prefix (`apart`: one is needed),
        at most 64 characters, of which a hash then keeps cut names different."""
        name = self.rename.get(tool, tool)
        prefix = self.prefix
        if prefix is None:
            apart = tool not in self.rename if self.namespace else apart
            prefix = self.name if apart else ""
            if apart and self.foreign(f"{prefix}_{name}"):
                prefix = f"{self.namespace}.{prefix}"
        return fitting(f"{prefix}_{name}" if prefix else name)

    def foreign(self, shown: str) -> str:
        """Whose a name is, where it is not one of our namespace; "" where it may be ours."""
        whose, dot, _ = shown.partition(".")
        return whose if dot and self.namespace and whose != self.namespace else ""


def fitting(name: str) -> str:
    """The same name, or one of 64 characters that no other long one shares."""
    if len(name) <= NAME_LIMIT:
        return name
    return f"{name[: NAME_LIMIT - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def wrong_name(name: Any) -> str:
    """Why a tool of that name cannot be shown, "" if it can."""
    if not isinstance(name, str) or not name:
        return "it has no name"
    if not _TOOL.fullmatch(name):
        return "a name has only letters, digits, _ . and -; rename it"
    if RESERVED.fullmatch(name):
        return "that name is reserved; rename it, or set a prefix"
    return ""


class _Given(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What may be written; the types are checked by msgspec."""

    url: str = ""
    argv: tuple[str, ...] = ()
    env: dict[str, Any] = {}
    headers: dict[str, Any] = {}
    prefix: str | None = None
    namespace: str = ""
    allow: tuple[str, ...] = ("*",)
    rename: dict[str, str] = {}
    effects: dict[str, Effect] = {}
    trusted: bool = False
    idempotent: tuple[str, ...] = ()
    cache_seconds: float | dict[str, float] = 0.0
    retries: int | dict[str, int] = 0
    offers: tuple[str, ...] = ("tools",)
    timeout: float = 60.0
    parallel: int = 64
    refresh: float = 300.0
    result_limit: int = 8 << 20
    tool_limit: int = 500


def declared(name: str, given: Any, *, owner: str, administrator: bool = False) -> Upstream:
    """Check what somebody wrote of an upstream. Raises BadInput with the field and the mend.

    `administrator`: it stands in the settings file, which alone may name a program to start.
    """
    where = f"upstream {name[:100]!r}"
    check_name(name)
    try:
        wanted = msgspec.convert(given, _Given)
    except msgspec.ValidationError as error:
        known = ", ".join(_Given.__struct_fields__)
        raise BadInput(f"{where}: {error}", f"known fields: {known}") from None
    if wanted.argv and not administrator:
        raise BadInput(
            f"{where}: a program is started only for an upstream of the settings file",
            "give a url, or ask the administrator",
        )
    if bool(wanted.url) == bool(wanted.argv):
        raise BadInput(f"{where} needs either a url or an argv")
    _check_names(where, wanted)
    _check_numbers(where, wanted)
    fields = {field: getattr(wanted, field) for field in _Given.__struct_fields__}
    repeats = Repeats(*(fields.pop(one) for one in ("idempotent", "cache_seconds", "retries")))
    repeats.check(where)
    fields["headers"], fields["env"] = check_headers(wanted.headers), check_headers(wanted.env)
    return Upstream(name, owner, repeats=repeats, **fields)


def _check_names(where: str, wanted: _Given) -> None:
    if wanted.url and not wanted.url.startswith(("https://", "http://")):
        raise BadInput(f"{where}: url is {wanted.url[:100]!r}", "https://host/mcp")
    if wanted.argv and (not wanted.argv[0] or any("\0" in word for word in wanted.argv)):
        raise BadInput(f"{where}: argv starts with the program", '["/usr/bin/my-server", "--flag"]')
    if wanted.namespace and not _NAMESPACE.fullmatch(wanted.namespace):
        raise BadInput(f"{where}: namespace is {wanted.namespace!r}", "letters, digits, _ -")
    if wanted.prefix and not _PREFIX.fullmatch(wanted.prefix):
        raise BadInput(
            f"{where}: prefix is {wanted.prefix!r}", "letters, digits, _ . -, at most 45"
        )
    for old, new in wanted.rename.items():
        why = wrong_name(new)
        if why:
            raise BadInput(f"{where}: rename {old!r} to {new!r}: {why}")
    for header in wanted.headers:
        if _OURS.fullmatch(header):
            raise BadInput(f"{where}: the header {header[:100]!r} cannot be set", "it is MCP's")
    for variable in wanted.env:
        if not _VARIABLE.fullmatch(variable) or _LOADS_CODE.fullmatch(variable):
            raise BadInput(
                f"{where}: the variable {variable} cannot be set",
                "it decides what code a program loads; write the program's path into argv",
            )
    for offer in wanted.offers:
        if offer not in OFFERS:
            raise BadInput(f"{where}: offers has {offer!r}", "of " + ", ".join(OFFERS))


def _check_numbers(where: str, wanted: _Given) -> None:
    bounds = {
        "timeout": (0.1, 3600),
        "parallel": (1, 10_000),
        "refresh": (1, 86_400),
        "result_limit": (1024, 256 << 20),
        "tool_limit": (1, 10_000),
    }
    for field_name, (low, high) in bounds.items():
        value = getattr(wanted, field_name)
        if not low <= value <= high:
            raise BadInput(f"{where}: {field_name} is {value:g}", f"{low:g} to {high:g}")
