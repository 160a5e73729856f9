"""Secrets of outgoing calls, by name: where they are kept, to which hosts and ports they may go.

Kept in `$PILOTAGE_HOME/secrets.yaml` (mode 0600), or in the environment as `PILOTAGE_SECRET_<NAME>`
with `PILOTAGE_HOSTS_<NAME>`, which wins. A secret without hosts goes nowhere: else who may register
a tool could send any secret to a server of their own.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from pilotage.domain.errors import BadInput, Denied, NotFound, Unavailable
from pilotage.tool.redact import Redactor, looks_secret, names_secret
from pilotage.upstream import destination

SHORTEST = 8
"""A shorter secret could not be masked without eating into ordinary text."""
UNGUESSABLE, VARIED = 16, 8
"""So many characters, and different ones, has a secret that is kept over the network."""
_SECRET, _HOSTS = "PILOTAGE_SECRET_", "PILOTAGE_HOSTS_"
_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_SECRET_HEADER = re.compile(r"(?i)auth|key|cookie|session|signature")
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_OURS = re.compile(
    r"(?i)accept-encoding|connection|content-.*|expect|host|keep-alive|proxy-.*|te|trailer"
    r"|transfer-encoding|upgrade"
)


@dataclass(frozen=True, slots=True)
class Secret:
    """Its name, the hosts (with their ports) it may go to, and where it is kept."""

    name: str
    hosts: tuple[str, ...]
    home: str


class _Kept(msgspec.Struct, forbid_unknown_fields=True):
    value: str
    hosts: list[str] = []


class Reference(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True):
    """The value of a header that is kept elsewhere: `prefix` + secret."""

    secret: str
    prefix: str = ""


Header = str | Reference


class Secrets:
    """Read when asked for, so that what was changed counts at once. What is read is masked by
    `redactor` from then on."""

    def __init__(
        self, path: Path, redactor: Redactor, environment: Mapping[str, str] | None = None
    ) -> None:
        self.path, self._redactor = path, redactor
        self._environment = os.environ if environment is None else environment
        self._read: tuple[tuple[int, ...], dict[str, _Kept]] | None = None

    def value(self, name: str, origin: str) -> str:
        """The secret, for a call to `origin` (see destination.py). Raises NotFound, or Denied for
        another one."""
        kept = self._kept(name)
        if not any(to is not None and to.takes(origin) for to in map(destination.read, kept.hosts)):
            hosts = ", ".join(kept.hosts) or "no host"
            raise Denied(
                f"the secret {name} may not go to {origin}, but to {hosts}",
                f"pilotage secrets set {name} --host {destination.entry_for(origin)}",
            )
        self._redactor.mask(kept.value, name)
        return kept.value

    def headers(self, given: Mapping[str, Header], origin: str) -> dict[str, str]:
        """Headers with their secrets in place, for a call to `origin`."""
        return {
            name: one if isinstance(one, str) else one.prefix + self.value(one.secret, origin)
            for name, one in given.items()
        }

    def list(self) -> list[Secret]:
        """By name, without their values."""
        found = {
            name: Secret(name, tuple(kept.hosts), str(self.path))
            for name, kept in self._file().items()
        }
        for variable in self._environment:
            if variable.startswith(_SECRET):
                name = variable.removeprefix(_SECRET)
                hosts = tuple(self._environment.get(_HOSTS + name, "").replace(",", " ").split())
                found[name] = Secret(name, hosts, f"${variable}")
        return [found[name] for name in sorted(found)]

    def set(self, name: str, value: str, hosts: Iterable[str]) -> None:
        """Keep a secret, or another value of it, in the file."""
        kept = _Kept(value, sorted(set(hosts)))
        _check(name, kept)
        if not kept.hosts:
            raise BadInput(f"the secret {name} is for no host", "--host api.example.com")
        self._write({**self._file(), name: kept})

    def remove(self, name: str) -> None:
        """Raises NotFound where the file has no such secret."""
        kept = self._file()
        if name not in kept:
            raise NotFound(f"{self.path} has no secret {name!r}", "pilotage secrets list")
        self._write({one: value for one, value in kept.items() if one != name})

    def _kept(self, name: str) -> _Kept:
        value = self._environment.get(_SECRET + name)
        if value is not None:
            hosts = self._environment.get(_HOSTS + name, "").replace(",", " ").split()
            kept = _Kept(value, hosts)
            _check(name, kept)
            return kept
        found = self._file().get(name)
        if found is None:
            raise NotFound(f"there is no secret {name}", f"pilotage secrets set {name} --host ...")
        return found

    def _file(self) -> dict[str, _Kept]:
        """What the file holds; it is read again where it has changed."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return {}
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)
        if self._read is not None and self._read[0] == stamp:
            return self._read[1]
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise Unavailable(
                f"{self.path} can be read by others than its owner", f"chmod 600 {self.path}"
            )
        import yaml

        try:
            content = yaml.safe_load(self.path.read_text("utf-8")) or {}
            kept = msgspec.convert(content, dict[str, _Kept])
            for name, one in kept.items():
                _check(name, one)
        except (yaml.YAMLError, msgspec.ValidationError, UnicodeDecodeError):
            raise Unavailable(
                f"{self.path} is not readable as secrets", "NAME: {value: ..., hosts: [...]}"
            ) from None  # without the reason, which quotes the file
        self._read = (stamp, kept)
        return kept

    def _write(self, kept: Mapping[str, _Kept]) -> None:
        import yaml

        content = {name: msgspec.to_builtins(one) for name, one in sorted(kept.items())}
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, new = tempfile.mkstemp(dir=self.path.parent, prefix=".secrets-")  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                yaml.safe_dump(content, file, allow_unicode=True)
            os.replace(new, self.path)
        except BaseException:
            os.unlink(new)
            raise


def refuse_ordinary(name: str, value: str) -> None:
    """Raises BadInput for a word that may stand in ordinary text. Whoever may keep secrets could
    have it taken out of all answers, and of the audit."""
    if len(value) < UNGUESSABLE or len(set(value)) < VARIED:
        raise BadInput(
            f"the secret {name} could be a word of ordinary text",
            f"{UNGUESSABLE} characters at least, {VARIED} of them different; or on the server's "
            f"machine: pilotage secrets set {name}",
        )


def check_headers(given: Mapping[str, Any]) -> dict[str, Header]:
    """The headers of a definition. Secrets stand there by name only; a value that looks like one is
    refused, and so is a header whose name says that it is one. Raises BadInput."""
    checked: dict[str, Header] = {}
    for name, value in given.items():
        if not _HEADER.fullmatch(name) or _OURS.fullmatch(name):
            raise BadInput(f"the header {name[:100]!r} cannot be set", "it is HTTP's or ours")
        if name.lower() in {one.lower() for one in checked}:
            raise BadInput(f"the header {name} is there twice")
        checked[name] = _header(name, value)
    return checked


def told(headers: Mapping[str, Header]) -> str:
    """The headers in words, as they are pinned with a tool: each changes what its calls do, or by
    whose right. Secrets by name; "" where there are none."""
    words = [
        f"{name}: {one.prefix}{{{one.secret}}}" if isinstance(one, Reference) else f"{name}: {one}"
        for name, one in sorted(headers.items())
    ]
    return f" with {', '.join(words)}" if words else ""


def refuse_literal(where: str, text: str) -> None:
    """Raises BadInput where a text of a definition looks like a secret."""
    if looks_secret(text):
        raise BadInput(
            f"{where} holds what looks like a secret", 'keep it: {"secret": "NAME"} in a header'
        )


def _header(name: str, value: Any) -> Header:
    if isinstance(value, str):
        _check_text(name, value)
        refuse_literal(f"the header {name}", value)
        if names_secret(name) or _SECRET_HEADER.search(name):
            prefix = ', "prefix": "Bearer "' if name.lower() == "authorization" else ""
            kept = "`pilotage secrets set NAME --host HOST` keeps it"
            raise BadInput(
                f"the header {name} is a secret by its name, and stands there readable",
                f'"{name}": {{"secret": "NAME"{prefix}}}; {kept}',
            )
        return value
    try:
        reference = msgspec.convert(value, Reference)
    except msgspec.ValidationError as error:
        raise BadInput(f"the header {name}: {error}", '{"secret": "NAME"}') from None
    if not _NAME.fullmatch(reference.secret):
        raise BadInput(f"the header {name}: that is no name of a secret", "such as TRACKER_TOKEN")
    _check_text(name, reference.prefix)
    refuse_literal(f"the header {name}", reference.prefix)
    return reference


def _check_text(name: str, text: str) -> None:
    if not text.isascii() or not (text.isprintable() or not text) or len(text) > 4_000:
        raise BadInput(f"the header {name} has a value that is no printable ASCII on one line")


def _check(name: str, kept: _Kept) -> None:
    """Raises BadInput, without the value."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name[:100]!r} is no name of a secret", "such as TRACKER_TOKEN")
    if len(kept.value) < SHORTEST or not (kept.value.isascii() and kept.value.isprintable()):
        raise BadInput(
            f"the secret {name} is unusable",
            f"{SHORTEST} characters at least, printable ASCII on one line",
        )
    for host in kept.hosts:
        if destination.read(host) is None:
            what = f"the secret {name} is for {host[:100]!r}, which is no host"
            raise BadInput(what, "api.example.com, api.example.com:8443 or *.example.com")
