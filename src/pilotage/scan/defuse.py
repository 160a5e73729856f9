"""Words in the source that ask a scanner to look away, made powerless in the staged copy.

One letter of each becomes a digit (`nosec` -> `n0sec`), so that every line and column holds.
Measured: a lower-cased copy and `in` for each word, a regular expression only on a hit, is ten
times as fast as one expression over everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pilotage.domain.finding import Suppression
from pilotage.domain.text import visible

_EDGE = rb"(?<![a-z0-9_])"  # not inside "nanoseconds"
_COLON = rb"\s*+:\s*+"
# What is looked for first, and the expression that says where it really is such a word.
_TABLE: tuple[tuple[bytes, bytes], ...] = (
    (b"nosec", _EDGE + rb"nosec"),
    (b"noqa", _EDGE + rb"noqa"),
    (b"nosem", _EDGE + rb"nosem(?:grep)?"),
    (b"nosonar", _EDGE + rb"nosonar"),
    (b"gosec:disable", rb"gosec:disable"),
    (b"pylint", rb"pylint" + _COLON + rb"(?:disable|enable|skip-file)[a-z-]*"),
    (b"ruff", _EDGE + rb"ruff" + _COLON + rb"(?:ignore|disable|enable|file-ignore)"),
    (b"eslint", rb"eslint-(?:disable|enable)(?:-next-line|-line)?|eslint-env"),
    (b"eslint", rb"/\*\s*+eslint(?=\s)"),
    (b"gitleaks:allow", rb"gitleaks:allow"),
    (b"betterleaks:allow", rb"betterleaks:allow"),
    (b"trufflehog:ignore", rb"trufflehog:ignore"),
    (b"kingfisher", rb"kingfisher" + _COLON + rb"(?:ignore|allow)"),
    (b"ggignore", _EDGE + rb"ggignore"),
    (b"pragma", rb"pragma" + _COLON + rb"(?:allowlist|whitelist)(?:\s++nextline)?"),
    (b"secretlint-disable", rb"secretlint-disable(?:-next-line|-line)?"),
    (b"trivy", rb"trivy" + _COLON + rb"ignore"),
    (b"tfsec", rb"tfsec" + _COLON + rb"ignore"),
    (b"checkov", rb"checkov(?:\.io/|\s*+:\s*+)skip\d*"),
    (b"bridgecrew", rb"bridgecrew(?:\.io/|\s*+:\s*+)skip\d*"),
    (b"cortex", rb"cortex(?:\.io/|\s*+:\s*+)skip\d*"),
    (b"ts:skip", _EDGE + rb"ts:skip"),
    (b"kics-scan", rb"kics-scan\s++(?:ignore|disable|enable)[a-z-]*"),
    (b"hadolint", rb"hadolint\s++(?:global\s++)?(?:ignore|shell)"),
    (b"zizmor", rb"zizmor" + _COLON + rb"ignore"),
    (b"shellcheck", rb"shellcheck\s++(?:disable|enable|source|shell)"),
    (b"yamllint", rb"yamllint\s++(?:disable|enable)[a-z-]*"),
    (b"njsscan-ignore", rb"njsscan-ignore"),
    (b"mobsf-ignore", rb"mobsf-ignore"),
    (b"deepcode", rb"deepcode\s++ignore"),
    (b"devskim", rb"devskim" + _COLON + rb"ignore"),
    (b"flawfinder", rb"flawfinder" + _COLON + rb"ignore"),
    (b"cppcheck-suppress", rb"cppcheck-suppress"),
    (b"ignore-check.kube-linter.io", rb"ignore-check\.kube-linter\.io"),
)
_WORDS = tuple((needle, re.compile(pattern)) for needle, pattern in _TABLE)
# CloudFormation templates may ask in their Metadata, where the request is a key, not a comment.
_METADATA = re.compile(rb"(?:checkov|bridgecrew|cortex|cfn_nag|cfn[-_]lint)(?=[\"']?\s*+:)")
_DIGITS = {"e": "3", "i": "1", "o": "0", "a": "4", "l": "1", "s": "5", "t": "7", "u": "0"}
# What no parser of source takes for text: changing a byte in it could only break an archive.
MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"\xfd7zXZ\x00", b"7z\xbc\xaf\x27\x1c",
          b"\x28\xb5\x2f\xfd", b"\x7fELF", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")  # fmt: skip
_REASON = re.compile(r"\s+(?:--|//|#|-)\s+|\s*--\s+|\s+#")
_RULE = re.compile(r"[\w@*-]+(?:[./_-][\w@*-]+)+|\w*\d\w*|\*")
_OPEN_NAMES = ("pylint", "eslint", "ruff")  # their rules may be plain words, up to the reason
_LONGEST = 200
_MOST = 1000  # records a file; all of its words are defused


def defuse(path: str, data: bytes) -> tuple[bytes, tuple[Suppression, ...]]:
    """The same bytes with every such word defused, and what they were. Lengths never change.

    A file that starts as an archive, an image or a program is left as it is.
    """
    if data.startswith(MAGIC):
        return data, ()
    lower = data.lower()
    changed = bytearray(data)
    first: set[tuple[int, int]] = set()  # of each pattern: a file may hold millions of words
    total = 0
    for pattern in _patterns(lower):
        for count, match in enumerate(pattern.finditer(lower)):
            _blunt(changed, data, *match.span())
            total += 1
            if count <= _MOST:
                first.add(match.span())
    if not total:
        return data, ()
    spans = sorted(first, key=lambda span: (span[0], -span[1]))[:_MOST]
    more = total - len(spans) if total > _MOST else 0
    return bytes(changed), tuple(_records(path, data, spans, more))


def _records(
    path: str, data: bytes, spans: list[tuple[int, int]], more: int
) -> Iterator[Suppression]:
    line, counted, ended = 1, 0, 0
    for start, end in spans:
        if start >= ended:  # else it lies inside the last one
            line += data.count(b"\n", counted, start)
            counted, ended = start, end
            yield _suppression(path, line, data, start, end)
    if more:
        yield Suppression(path, line, f"and {more} more such words below this line")


def _patterns(lower: bytes) -> Iterator[re.Pattern[bytes]]:
    """The expressions that can match here."""
    yield from (pattern for needle, pattern in _WORDS if needle in lower)
    if b"aws::" in lower and b"metadata" in lower:
        yield _METADATA


def _blunt(changed: bytearray, data: bytes, start: int, end: int) -> None:
    """Turn the first letter that has a look-alike digit into it. Each word has one."""
    for index in range(start, end):
        digit = _DIGITS.get(chr(data[index]).lower())
        if digit is not None:
            changed[index] = ord(digit)
            return


def _suppression(path: str, line: int, data: bytes, start: int, end: int) -> Suppression:
    word = data[start:end].decode("utf-8", "replace")[:_LONGEST].lstrip("/* \t\r\n")
    stop = data.find(b"\n", end, end + _LONGEST)
    rest = data[end : stop if stop >= 0 else end + _LONGEST].decode("utf-8", "replace")
    rules, reason = _rules_and_reason(word, rest)
    return Suppression(path, line, visible(" ".join((word, *rules))), visible(reason))


def _rules_and_reason(word: str, rest: str) -> tuple[tuple[str, ...], str]:
    """Which rules the word names, and the text beside it that says why."""
    rest = re.sub(r"\s*(?:\*/|-->|\*\)|#\})\s*$", "", rest.strip("\r"))
    bracket = re.match(r"\s*\[([^\]]*)\]", rest)
    if bracket is not None:
        return tuple(re.findall(r"[^\s,]+", bracket[1])), rest[bracket.end() :].strip(" :-#")
    mark = _REASON.search(rest)
    named, reason = (rest[: mark.start()], rest[mark.end() :]) if mark else (rest, "")
    named = named.lstrip(" :=(")
    if word.lower().startswith(_OPEN_NAMES):
        return tuple(re.findall(r"[\w@/.*-]+", named)), reason.strip(" :-")
    rules = []
    while (match := _RULE.match(named)) is not None:
        rules.append(match.group())
        named = named[match.end() :].lstrip(" ,:=()")
    return tuple(rules), " ".join((named + " " + reason).split()).strip(" :-")
