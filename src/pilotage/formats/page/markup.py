"""HTML that cannot be broken into: whatever is not Markup is text of others, and is escaped."""

from __future__ import annotations

import html
from urllib.parse import urlsplit

from pilotage.domain.text import visible

VOID = frozenset({"meta", "input"})


class Markup(str):
    """Text that is markup of ours. Only `tag`, `joined` and the page's own files make it."""

    __slots__ = ()


def tag(name: str, /, *children: str, **attributes: str | int | float | bool | None) -> Markup:
    """An element. `class_` is the attribute class, `data_type` is data-type; True is an attribute
    without a value, False and None are none at all."""
    written = "".join(_attribute(key, value) for key, value in attributes.items())
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """The children one after the other, those that are text escaped."""
    return Markup(
        "".join(child if isinstance(child, Markup) else _text(child) for child in children)
    )


def link(url: str, text: str) -> Markup:
    """A link to a page of the web; the text alone where the address is none."""
    parts = urlsplit(url) if url.isascii() and url.isprintable() and " " not in url else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        return joined(text)
    return tag("a", text, href=url, rel="noopener noreferrer nofollow", target="_blank")


def _text(text: str) -> str:
    return html.escape(visible(text))


def _attribute(key: str, value: str | int | float | bool | None) -> str:
    name = key.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{_text(str(value))}"'
