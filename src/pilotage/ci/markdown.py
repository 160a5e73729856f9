"""Untrusted text in Markdown."""

from __future__ import annotations

import re

from pilotage.domain.text import visible

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#|~$@:]|(?<=www)\.|^[-+])")


def escape(text: str, limit: int = 500) -> str:
    """One line of Markdown that shows `text` and does nothing else: no markup, link, image, mention
    or table cell of its own. Longer than `limit` characters: cut, with an ellipsis."""
    text = visible(" ".join(text.split()))
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", text)
