"""The commit of our own that holds as text what a log of the history does not show, and how a place
in the history is called there: `3f/3f2a….message`, `3f/3f2a….file/settings.ini`,
`3f/3f2a….tag/ID/v1.0`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from pilotage.domain.finding import Finding
from pilotage.scan.git import answer

REF = "refs/pilotage/text"
_NAME = re.compile(
    r"(?P<head>[0-9a-f]{2})/(?P<commit>(?P=head)[0-9a-f]{38,62})\.(?P<kind>[a-z]+)(?:/(?P<path>.+))?",
    re.DOTALL,
)
_PLACES = {
    "file": "{path}",
    "message": ".git/message of the commit",
    "people": ".git/author or committer of the commit",
    "header": ".git/header of the commit",
    "tag": ".git/message of the tag {tag}",
    "tagger": ".git/tagger of the tag {tag}",
    "taghead": ".git/header of a tag",
}
_WHO = b"pilotage <pilotage@localhost> 0 +0000"


def name(commit: str, kind: str, path: bytes = b"") -> bytes:
    """What is called so there. `kind` is a key of the table above; `path` that of a file, or
    `ID/NAME` of a tag (`ID` alone where the name itself is looked at)."""
    return b"%s/%s.%s" % (commit[:2].encode(), commit.encode(), kind.encode()) + (
        b"/" + path if path else b""
    )


def placed(finding: Finding) -> Finding:
    """A finding in the text of this commit, at the place in the history where that text is."""
    found = _NAME.fullmatch(finding.location.path)
    if found is None or found["kind"] not in _PLACES:
        return finding
    named = found["path"] or ""
    path = _PLACES[found["kind"]].format(path=named, tag=named.partition("/")[2])
    location = replace(finding.location, path=path, commit=found["commit"])
    said = finding.message
    if found["kind"] != "file":
        said = f"{said} It stands in the {path.removeprefix('.git/')}."
    return replace(finding, location=location, message=said)


class Page:
    """Writes it, in as many parts as come: each is a commit with all that there was before, and
    the last one alone is kept, so that a log shows one."""

    def __init__(self, bare: Path) -> None:
        self._bare, self._tree = bare, b""

    async def add(self, texts: Iterable[tuple[bytes, bytes]]) -> None:
        """Names as `name` makes them, and what stands there. May raise GitFailed."""
        parts = [b"commit %s\ncommitter %s\ndata 0\n" % (REF.encode(), _WHO)]
        if self._tree:
            parts.append(b'M 040000 %s ""\n' % self._tree)
        for called, text in texts:
            parts.append(b"M 100644 inline %s\ndata %d\n" % (_quoted(called), len(text)))
            parts += [text, b"\n"]
        if len(parts) == 1:
            return
        whole = b"".join(parts)
        del parts
        await answer(
            "fast-import", "--quiet", "--force", within=self._bare, stdin=whole, seconds=600
        )
        tree = await answer("rev-parse", "--verify", REF + "^{tree}", within=self._bare)
        self._tree = tree.strip()


def _quoted(path: bytes) -> bytes:
    return b'"%s"' % b"".join(b"\\%03o" % byte if byte < 32 or byte in b'"\\' else b"%c" % byte
                              for byte in path)  # fmt: skip
