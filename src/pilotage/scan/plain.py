"""What a file plainly is, said by the suffix by which scanners know such files. `run` with
`#!/usr/bin/python3`, `app.JS` and `Dockerfile-prod` work as well as what they are usually called,
but scanners go by the name alone."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

_LOOK = 4096
_SUFFIXES = frozenset(
    ("py", "pyw", "pyi", "ipynb", "js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx", "tf",
     "yml", "yaml", "json", "template", "bicep", "dockerfile")
)  # fmt: skip
_ALSO = {"tofu": "tf", "wsgi": "py", "es6": "js"}
_SCRIPT = re.compile(
    rb"#![ \t]*\S*/(?:env[ \t]+(?:-\S+[ \t]+)?)?(python|node|deno|bun|ts-node|tsx)"
)
_PROGRAMS = {b"python": "py", b"node": "js", b"deno": "ts", b"bun": "ts", b"ts-node": "ts",
             b"tsx": "ts"}  # fmt: skip
_SCRIPTS = frozenset(("py", "pyw", "js", "mjs", "cjs", "jsx", "ts", "mts", "cts", "tsx"))
_DOCKERFILE = re.compile(r"(?:.*[-_.])?(?:docker|container)file(?:[-_.].*)?", re.IGNORECASE)
_KNOWN_DOCKERFILE = re.compile(r"dockerfile|(?:Docker|Container)file(?:\..*)?|.*\.[Dd]ockerfile")
_PROSE = (".md", ".rst", ".adoc", ".html")


def suffix_of(name: str, data: bytes) -> str:
    """The suffix by which scanners would know this file, or "" where its name does."""
    stem, _, suffix = name.rpartition(".")
    lower = suffix.lower() if stem else ""
    if suffix != lower and lower in _SUFFIXES:
        return lower
    if lower in _ALSO:
        return _ALSO[lower]
    script = _SCRIPT.match(data[:256])
    if script and lower not in _SCRIPTS:
        return _PROGRAMS[script[1]]
    odd = _DOCKERFILE.fullmatch(name) and not _KNOWN_DOCKERFILE.fullmatch(name)
    if odd and not name.lower().endswith(_PROSE) and _begins_as_dockerfile(data[:_LOOK]):
        return "dockerfile"
    return ""


def as_python_notebook(data: bytes) -> bytes:
    """A notebook for a Python kernel without the remarks, which no kernel obeys, that it or a cell
    of it is in another language; everything else as it is."""
    try:
        book = json.loads(data)
        other = list(_other_languages(book))
    except (ValueError, RecursionError, TypeError, AttributeError, KeyError):
        return data  # its scanner says so
    for place, key in other:
        del place[key]
    return json.dumps(book, indent=1).encode() if other else data


def _other_languages(book: Any) -> Iterator[tuple[dict[str, Any], str]]:
    about = book.get("metadata") or {}
    kernel = about.get("kernelspec") or {}
    names = [str(kernel.get(key) or "python").lower() for key in ("name", "language")]
    if not any(name.startswith("python") for name in names):
        return
    if str((about.get("language_info") or {}).get("name", "python")).lower() != "python":
        yield about, "language_info"
    for cell in book["cells"]:
        remarks = cell.get("metadata") or {}
        magic = "".join(cell.get("source") or "").lstrip().startswith("%%")
        if cell.get("cell_type") == "code" and "vscode" in remarks and not magic:
            yield remarks, "vscode"


def _begins_as_dockerfile(head: bytes) -> bool:
    for line in head.removeprefix(codecs.BOM_UTF8).splitlines():
        word = line.split(None, 1)[:1]
        if word and not word[0].startswith(b"#"):
            return word[0].upper() in (b"FROM", b"ARG")
    return False
