"""Markup that hides text from people, poses as the voice of the system, or calls out when shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pilotage.tool.phrases import Sign

_COMMENT = re.compile(r"<!--((?:[^-]|-(?!->)){0,4000})(?:-->|$)")
_LINK_COMMENT = re.compile(r"^\s{0,3}\[[^\]\n]{1,40}\]:\s*(?:#|<>)\s*[(\"'].{3,}", re.MULTILINE)
_HIDING_TAG = re.compile(
    r"<[a-z][a-z0-9]{0,20}\b[^<>]{0,300}?(?:display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0|opacity\s*:\s*0"
    r"|color\s*[:=]\s*[\"']?\s*(?:white|#fff(?:fff)?)\b|\shidden(?=[\s>=]))[^<>]{0,300}>\s*([^<]{8,})"
)
_FIELD = re.compile(r"<input\b")
_POSING_TAG = re.compile(
    r"<\s*/?\s*[\w-]{0,40}(?:important|system|secret|hidden|instruct|admin|assistant|override|directive|critical|-ai\b|\bai-|-llm|-model\b|-agent\b)"
    r"[\w-]{0,40}(?:\s[^<>]{0,200})?>"
)
_VOICE = re.compile(
    r"<\|(?:im_start|im_end|system|user|assistant|begin_of_text|start_header_id|eot_id)\|?>|\[/?inst\]|<</?sys>>"
    r"|^\s*#{1,6}\s*(?:system|instructions? (?:for|to) the (?:assistant|model|ai)|new instructions?)\b"
    r"|^\s*(?:system|human|developer)(?: (?:message|prompt|override|note|notice|instruction))?\s*:\s",
    re.MULTILINE,
)
_LOUD_VOICE = re.compile(
    r"(?:^|[.!?\n]\s{0,3})(?:IMPORTANT |CRITICAL )?SYSTEM(?: NOTE| MESSAGE| INSTRUCTION| OVERRIDE| NOTICE)?:\s"
)
_BRACKET = re.compile(
    r"(?:\[|\{\{[#/]?|-{3,} ?(?:begin |end )?) ?"
    r"(?:hidden|system|important|secret|admin|internal|override)[\w ]{0,20}(?:\]|\}\}|-{3})"
)
_IMAGE = re.compile(
    r"!\[[^\]\n]{0,200}\]\(([^)\n]{1,2000})\)|<img\b[^<>]{0,200}?\bsrc\s*=\s*[\"']?([^\"'<> ][^\"'>]{0,2000})"
)
_FILLED_IN = re.compile(
    r"[?&/=][^\s]{0,60}?(?:\{|\[|<|\$|%s)|[?&][\w-]{1,40}=[A-Z_]{4,}\b|[?&](?:d|data|q|u|key|msg|c)=[A-Z_ ]{3,}"
)
_PADDING = re.compile(
    r"[ \t\u00a0\u2000-\u200a\u3000]{150,}(?=\S)|(?:[ \t\r]{0,20}\n){25,}(?=\s{0,4}\S)"
)


def signs(text: str) -> Iterator[Sign]:
    """What the markup of a text does. `text` is as it came, without what hides in it."""
    low = text.lower()
    if any(len(found[1].split()) >= 4 for found in _COMMENT.finditer(low)):
        yield Sign("comment", 6, "holds an HTML comment, which people are not shown")
    if _LINK_COMMENT.search(low):
        yield Sign("comment", 10, "holds a markdown comment, which people are not shown")
    if any(not _FIELD.match(found[0]) for found in _HIDING_TAG.finditer(low)):
        yield Sign("hiding-tag", 10, "holds text that is styled not to be seen")
    if _POSING_TAG.search(low) or _BRACKET.search(low):
        yield Sign("voice", 6, "has a tag that poses as an instruction")
    if _VOICE.search(low) or _LOUD_VOICE.search(text):
        yield Sign("voice", 8, "speaks in the voice of the system")
    if any(_FILLED_IN.search(found[1] or found[2]) for found in _IMAGE.finditer(text)):
        yield Sign("image", 10, "has an image whose address carries data away")
    if _PADDING.search(text):
        yield Sign("padding", 10, "pushes text out of sight with blank space")
