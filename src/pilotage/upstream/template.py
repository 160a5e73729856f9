"""URL templates: `https://host/tickets/{id}?state={state}` (RFC 6570, level 1).

A variable stands in the path, or is the value of a parameter of the query. Its value is
percent-encoded, and can neither leave its place nor change host, path or query.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

from pilotage.domain.errors import BadInput

_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}")
_TEMPLATE = re.compile(r"(?P<origin>https?://[^/?#{}]+)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?")
_DOTS = frozenset((".", ".."))


@dataclass(frozen=True, slots=True)
class Template:
    """`path` is what stands between the slashes, `query` the pairs of name and value as written;
    in both, what is no variable is encoded already."""

    origin: str
    path: tuple[str, ...]
    query: tuple[tuple[str, str], ...]

    @property
    def in_path(self) -> frozenset[str]:
        """Variables that must have a value."""
        return frozenset(name for part in self.path for name in _VARIABLE.findall(part))

    @property
    def in_query(self) -> frozenset[str]:
        """Variables without which their parameter is left out."""
        return frozenset(name for _, value in self.query for name in _VARIABLE.findall(value))

    @property
    def names(self) -> frozenset[str]:
        return self.in_path | self.in_query

    def example(self) -> str:
        """A URL of this template, to judge its host by."""
        return self.fill(dict.fromkeys(self.names, "x"))

    def fill(self, values: Mapping[str, Any]) -> str:
        """The URL. Raises BadInput for a value that cannot stand where it should."""
        path = "/".join(_part(part, values) for part in self.path)
        pairs = [
            f"{name}={_put(value, values)}"
            for name, value in self.query
            if all(one in values for one in _VARIABLE.findall(value))
        ]
        return self.origin + path + ("?" + "&".join(pairs) if pairs else "")


def parse(text: str) -> Template:
    """Raises BadInput for what is no template of ours."""
    found = _TEMPLATE.fullmatch(text)
    if found is None or not text.isascii() or not text.isprintable() or " " in text:
        raise BadInput(
            "that is no URL template",
            "https://host/path/{name}?key={name}: no variable in the host, spaces encoded",
        )
    path = tuple((found["path"] or "/").split("/"))
    query = tuple(_pair(pair) for pair in (found["query"] or "").split("&") if pair)
    for part in (*path, *(value for _, value in query)):
        if "{" in _VARIABLE.sub("", part) or "}" in _VARIABLE.sub("", part):
            raise BadInput(f"{part[:100]} has a variable that is none", "{name}")
    if any(unquote(part) in _DOTS for part in path):
        raise BadInput("the path of a URL template has no . and .. in it")
    if found["query"] and any("{" in name for name, _ in query):
        raise BadInput("the name of a parameter cannot be a variable")
    return Template(found["origin"], path, query)


def _pair(pair: str) -> tuple[str, str]:
    name, _, value = pair.partition("=")
    return name, value


def _part(part: str, values: Mapping[str, Any]) -> str:
    """One part of the path. A value may hold an encoded slash, which some APIs want (group%2Fname),
    but nothing that a server which decodes early could walk along."""
    names = _VARIABLE.findall(part)
    if not names:
        return part
    filled = _put(part, values)
    for name in names:
        _check_path(name, _text(values[name]))
    if not filled or _walks(filled):
        raise BadInput(f"{' and '.join(names)} cannot be . or .. in a path")
    return filled


def _check_path(name: str, text: str) -> None:
    if not text:
        raise BadInput(f"{name} is empty, and stands in the path of a URL")
    if _walks(text):
        raise BadInput(f"{name} walks along the path of a URL", "no . or .. between slashes")
    if any(ord(char) < 32 or ord(char) == 127 for char in unquote(text)):
        raise BadInput(f"{name} holds control characters, and stands in the path of a URL")


def _walks(text: str) -> bool:
    """Would it change the path, decoded once or more often?"""
    for _ in range(4):
        if any(part in _DOTS for part in re.split(r"[/\\;]", text)):
            return True
        decoded = unquote(text)
        if decoded == text:
            return False
        text = decoded
    return True


def _put(part: str, values: Mapping[str, Any]) -> str:
    try:
        return _VARIABLE.sub(lambda found: quote(_text(values[found[1]]), safe=""), part)
    except UnicodeEncodeError:
        raise BadInput("half a character does not fit into a URL") from None


def _text(value: Any) -> str:
    """A value of JSON as it stands in a URL. The schema lets through nothing but these."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value)
    raise BadInput("lists, objects and null do not fit into a URL")
