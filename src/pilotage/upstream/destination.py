"""Where a secret may go: one entry of its `hosts`.

`api.example` is that host at the port that its scheme has by itself (443 of https, 80 of http);
`api.example:8443` is another port, and `api.example:*` every port. On one host, each port may be
another's service, so a port is open only if it is named. `*.example` is every host below. The
program of an upstream over stdio is `stdio:NAME`.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

PROGRAM = "stdio:"
_USUAL = {"https": 443, "http": 80}
_EVERY = 0
_ENTRY = re.compile(
    r"(?:\[(?P<bracketed>[0-9A-Fa-f:.]+)\]|(?P<host>(?:\*\.)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}))"
    r"(?::(?P<port>\*|[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True)
class Destination:
    """One entry. `port` None: the usual one of the scheme."""

    host: str
    port: int | None = None

    def takes(self, origin: str) -> bool:
        """Is this where a call to `origin` goes? An origin is `https://host:port`, its usual port
        left out or not, or `stdio:NAME`."""
        if origin.startswith(PROGRAM) or self.host.startswith(PROGRAM):
            return origin.lower() == self.host
        url = urlsplit(origin)
        usual = _USUAL[url.scheme]
        host, port = _plain(url.hostname or ""), url.port or usual
        if self.port not in (_EVERY, port) and (self.port is not None or port != usual):
            return False
        return host.endswith(self.host[1:]) if self.host.startswith("*.") else host == self.host


@functools.lru_cache(1024)
def read(entry: str) -> Destination | None:
    """What an entry says; None: it is none."""
    if entry.startswith(PROGRAM):
        name = entry.removeprefix(PROGRAM)
        return Destination(entry.lower()) if re.fullmatch(r"[\w.-]{1,128}", name) else None
    if entry.count(":") > 1 and not entry.startswith("["):
        entry = f"[{entry}]"
    found = _ENTRY.fullmatch(entry)
    if found is None:
        return None
    host, port = _plain(found["bracketed"] or found["host"]), found["port"]
    if found["bracketed"] and ":" not in host:
        return None
    if port is None:
        return Destination(host)
    number = _EVERY if port == "*" else int(port)
    return Destination(host, number) if port == "*" or 0 < number < 65_536 else None


def entry_for(origin: str) -> str:
    """The entry that opens just this origin."""
    if origin.startswith(PROGRAM):
        return origin
    url = urlsplit(origin)
    usual = url.port in (None, _USUAL[url.scheme])
    return url.hostname or "" if usual else url.netloc


def _plain(host: str) -> str:
    """As it is compared: an address in its usual spelling."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower()
