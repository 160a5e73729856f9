"""Where this process may connect to: the one guard of every outgoing call (SSRF).

https only, and public addresses only, unless the setting `egress.allow` says otherwise. Judged are
the URL as written and then each address that its name resolves to; upstream/session.py connects to
the addresses that were judged, so no name can answer the check with one and the call with another.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pilotage.domain.errors import BadInput, Denied
from pilotage.domain.text import visible

if TYPE_CHECKING:
    from yarl import URL

REMEMBERED = 1_000
"""Origins that were found good, which they stay: their addresses are judged at each connection."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_NAME = re.compile(r"(?=.{1,253}\.?$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]+\.?")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_PORT = re.compile(r"(?P<host>.+?)(?::(?P<port>[0-9]{1,5}))?")

_NEVER = (
    ("0.0.0.0/8", "no address of a host"),
    ("169.254.0.0/16", "link-local, where clouds keep credentials"),
    ("168.63.129.16/32", "a cloud's metadata"),
    ("100.100.100.200/32", "a cloud's metadata"),
    ("192.0.0.192/32", "a cloud's metadata"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "no address of a host"),
    ("fe80::/10", "link-local"),
    ("fd00:ec2::/32", "a cloud's metadata"),
    ("fd20:ce::254/128", "a cloud's metadata"),
    ("ff00::/8", "multicast"),
)
"""No name in `egress.allow` opens these; an address or a network there does."""
_INSIDE = (
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "a provider's shared network"),
    ("127.0.0.0/8", "this machine"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "a relay to IPv6"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "a laboratory"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("::1/128", "this machine"),
    ("::/96", "an IPv4 address inside of IPv6"),
    ("64:ff9b::/96", "an IPv4 address behind NAT64"),
    ("64:ff9b:1::/48", "an IPv4 address behind NAT64"),
    ("100::/64", "nowhere"),
    ("2001::/23", "a tunnel"),
    ("2001:db8::/32", "documentation"),
    ("2002::/16", "an IPv4 address inside of 6to4"),
    ("3fff::/20", "documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fec0::/10", "private"),
)
_CLOSED: tuple[tuple[Network, str, bool], ...] = tuple(
    (ipaddress.ip_network(network), why, never)
    for networks, never in ((_NEVER, True), (_INSIDE, False))
    for network, why in networks
)


@dataclass(frozen=True, slots=True)
class Opening:
    """One entry of `egress.allow`: a host name (`*.` before it: all below it) or a network, and a
    port, None: every port."""

    host: str
    network: Network | None
    port: int | None

    def names(self, host: str, port: int) -> bool:
        """Does it name this host?"""
        if self.network is not None or self.port not in (None, port):
            return False
        if self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return host == self.host

    def holds(self, address: Address, port: int) -> bool:
        """Does it hold this address?"""
        return (
            self.network is not None
            and self.port in (None, port)
            and address.version == self.network.version
            and address in self.network
        )


class Egress:
    """The guard. `allow` is the setting `egress.allow`: `host`, `host:port`, `*.domain`, an address
    or a network in CIDR notation, each with a port or without; empty: nothing inside is open."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self.openings = tuple(_opening(text) for text in allow)
        self._good: set[tuple[str, str, int]] = set()

    def check_url(self, given: str | URL) -> URL:
        """The URL that may be asked for, if its addresses may be, with everything encoded. Denied,
        or BadInput where it is no URL of ours at all."""
        url = read_url(given)
        host, port = url.host or "", url.port or 0
        origin = (url.scheme, host, port)
        if origin in self._good:
            return url
        address = _literal(host)
        if address is not None:
            self.check_address(host, port, str(address))
        elif not _NAME.fullmatch(host) or _NUMBER.fullmatch(host.rstrip(".").rsplit(".", 1)[-1]):
            raise Denied(
                f"{visible(host)} is neither a host name nor an address as it is usually written",
                "write 127.0.0.1, not 0x7f.1 or 2130706433",
            )
        if url.scheme != "https" and not self._named(host, port, address):
            raise Denied(
                f"{url.scheme}://{host} would cross the network readable by all",
                "use https, or name the host in the server's setting egress.allow",
            )
        if len(self._good) < REMEMBERED:
            self._good.add(origin)
        return url

    def check_address(self, host: str, port: int, text: str) -> Address:
        """One address of `host`, which may be connected to; Denied if not."""
        address = _literal(text)
        if address is None:
            raise Denied(f"{visible(host)} resolves to {visible(text)}, which is no address")
        if any(one.holds(address, port) for one in self.openings):
            return address
        named = any(one.names(_plain(host), port) for one in self.openings)
        for network, why, never in _CLOSED:
            if address.version == network.version and address in network and (never or not named):
                what = text if text == host else f"{host} ({text})"
                opens = text if never else host
                opens = f"[{opens}]:{port}" if ":" in opens else f"{opens}:{port}"
                raise Denied(
                    f"{what} may not be called: {why}",
                    f"an administrator opens it by {opens} in the server's setting egress.allow",
                )
        return address

    def _named(self, host: str, port: int, address: Address | None) -> bool:
        """Is it opened by name, or by the address that is written in the URL?"""
        return any(
            one.names(_plain(host), port) or (address is not None and one.holds(address, port))
            for one in self.openings
        )


def read_url(given: str | URL) -> URL:
    """An http or https URL with everything encoded, and nothing in it that two readers could read
    differently. BadInput for any other."""
    from yarl import URL  # here: a start that calls nobody can save its 25 ms

    text = str(given)
    if not text.isprintable() or not text.isascii() or " " in text or "\\" in text:
        raise BadInput("a URL holds printable ASCII, no spaces and no \\", "encode them")
    try:
        url = given if isinstance(given, URL) else URL(given, encoded=True)
        host, port = url.host, url.port
    except ValueError as error:
        raise BadInput(f"that is no URL: {error}", "https://host/path") from None
    if url.scheme not in ("https", "http") or not host or not port:
        raise BadInput(f"{text[:200]} is no https URL", "https://host/path")
    if url.user is not None or url.password is not None:
        raise BadInput("a URL holds no user and no password", "use a header with a secret")
    if url.fragment:
        raise BadInput("a URL that is called has no #fragment")
    if "%" in host:
        raise BadInput("the host of a URL is written plainly", "no % in it")
    return url.with_host(host.lower()) if host != host.lower() else url


def _literal(text: str) -> Address | None:
    """An address, the IPv4 one if it is an IPv6 one that only wraps it; None: it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _plain(host: str) -> str:
    return host.lower().rstrip(".")


def _opening(text: str) -> Opening:
    """One entry of the setting."""
    wrong = BadInput(
        f"egress.allow: {text!r} is no host and no network",
        "such as api.internal:8443, *.svc.cluster.local, 10.0.0.0/8 or [::1]:8080",
    )
    found = re.fullmatch(r"\[(?P<host>[^\]]+)\](?::(?P<port>[0-9]{1,5}))?", text)
    if found is None and text.count(":") > 1:
        host, port = text, None
    else:
        found = found or _PORT.fullmatch(text)
        if found is None:
            raise wrong
        host, port = found["host"].lower(), found["port"]
    if port is not None and not 0 < int(port) < 65536:
        raise wrong
    number = None if port is None else int(port)
    try:
        return Opening("", ipaddress.ip_network(host), number)
    except ValueError:
        pass
    plain = host.rstrip(".")
    name = plain.removeprefix("*.")
    if not _NAME.fullmatch(name) or _NUMBER.fullmatch(name.rsplit(".", 1)[-1]):
        raise wrong
    return Opening(plain, None, number)
