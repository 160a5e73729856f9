"""Markup that hides text from people, poses as the voice of the system, or calls out when shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pilotage.domain.pattern import pattern
from pilotage.tool.phrases import Sign

_LINK_COMMENT = pattern(r"^\s{0,3}\[[^\]\n]{1,40}\]:\s*(?:#|<>)\s*[(\"'].{3,}", re.MULTILINE)
_HIDING_TAG = pattern(
    r"<[a-z][a-z0-9]{0,20}\b[^<>]{0,300}?(?:display\s*:\s*none|visibility\s*:\s*hidden"
    r"|font-size\s*:\s*0|opacity\s*:\s*0"
    r"|color\s*[:=]\s*[\"']?\s*(?:white|#fff(?:fff)?)\b"
    r"|\shidden(?=[\s>=]))[^<>]{0,300}>\s*([^<]{8,})"
)
_FIELD = pattern(r"<input\b")
_POSING_TAG = pattern(
    r"<\s*/?\s*[\w-]{0,40}(?:important|system|secret|hidden|instruct|admin|assistant|override"
    r"|directive|critical|-ai\b|\bai-|-llm|-model\b|-agent\b)"
    r"[\w-]{0,40}(?:\s[^<>]{0,200})?>"
)
_VOICE = pattern(
    r"<\|(?:im_start|im_end|system|user|assistant|begin_of_text|start_header_id|eot_id)\|?>"
    r"|\[/?inst\]|<</?sys>>"
    r"|^[ \t]{0,8}#{1,6}[ \t]{0,8}(?:system|instructions? (?:for|to) the (?:assistant|model|ai)"
    r"|new instructions?)\b"
    r"|^[ \t]{0,8}(?:system|human|developer)(?: (?:message|prompt|override|note|notice"
    r"|instruction))?\s*:\s",
    re.MULTILINE,
)
_MARKER = pattern(r"<\|(?:im_start|im_end|system|start_header_id|eot_id)\|?>|\[/?inst\]|<</?sys>>")
_LOUD_VOICE = pattern(
    r"(?:^|[.!?\n]\s{0,3})(?:IMPORTANT |CRITICAL )?SYSTEM(?: NOTE| MESSAGE| INSTRUCTION"
    r"| OVERRIDE| NOTICE)?:\s"
)
_BRACKET = pattern(
    r"(?:\[|\{\{[#/]?|-{3,12} ?(?:begin |end )?) ?"
    r"(?:hidden|system|important|secret|admin|internal|override)[\w ]{0,20}(?:\]|\}\}|-{3})"
)
_IMAGE = pattern(
    r"!\[[^\]\n]{0,200}\]\(([^)\n]{1,2000})\)"
    r"|<img\b[^<>]{0,200}?\bsrc\s*=\s*[\"']?([^\"'<> ][^\"'>]{0,2000})"
)
_FILLED_IN = pattern(
    r"[?&/=][^\s]{0,60}?(?:\{|\[|<|\$|%s)|[?&][\w-]{1,40}=[A-Z_]{4,}\b|[?&](?:d|data|q|u|key"
    r"|msg|c)=[A-Z_ ]{3,}"
)
_BLANK = pattern(r"\s{25,}+")
BLANKS, LINES = 150, 25


def speaks(text: str) -> bool:
    """Does a text in lower case hold a mark by which models know whose turn it is?"""
    return _MARKER.search(text) is not None


def signs(text: str) -> Iterator[Sign]:
    """What the markup of a text does. `text` is as it came, without what hides in it."""
    low = text.lower()
    if any(len(comment.split()) >= 4 for comment in _comments(low)):
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
    if _padded(text):
        yield Sign("padding", 10, "pushes text out of sight with blank space")


def _comments(text: str) -> Iterator[str]:
    """What stands in HTML comments; one that nobody ends goes on to the end."""
    start = text.find("<!--")
    while start >= 0:
        end = text.find("-->", start + 4)
        yield text[start + 4 : end if end >= 0 else len(text)]
        start = text.find("<!--", end + 3) if end >= 0 else -1


def _padded(text: str) -> bool:
    """Is there much blank space, with something after it?"""
    for run in _BLANK.finditer(text):
        lines = run[0].count("\n")
        if run.end() < len(text) and (lines >= LINES or len(run[0]) - lines >= BLANKS):
            return True
    return False
