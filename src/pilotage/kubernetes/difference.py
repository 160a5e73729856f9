"""What is different between an object as it is and as it will be, as people read it: lines."""

from __future__ import annotations

import difflib
from typing import Any

import yaml

from pilotage.kubernetes.kind import Object

LINES = 2_000
OURS = "pilotage/"
"""How annotations of our own begin: they are no news."""
_SERVER = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp")
_REVISION = "deployment.kubernetes.io/revision"


def plain(object: Object) -> Object:
    """The object without what the server and we write into it."""
    meta = {key: value for key, value in object["metadata"].items() if key not in _SERVER}
    notes = meta.pop("annotations", None) or {}
    kept = {k: v for k, v in notes.items() if not k.startswith(OURS) and k != _REVISION}
    if kept:
        meta["annotations"] = kept
    rest = {key: value for key, value in object.items() if key != "status"}
    return {**rest, "metadata": meta}


def difference(before: Object | None, after: Object, label: str) -> str:
    """A unified diff of their YAML; "": there is none. `before` None: all of it is new."""
    old = [] if before is None else _lines(plain(before))
    new = _lines(plain(after))
    there, will = ("(nothing)" if before is None else f"{label} (now)"), f"{label} (deployed)"
    found = list(difflib.unified_diff(old, new, there, will, n=2, lineterm=""))
    if len(found) > LINES:
        found = [*found[:LINES], f"... and {len(found) - LINES} lines more"]
    return "\n".join(found)


def _lines(object: Any) -> list[str]:
    text: str = yaml.safe_dump(object, sort_keys=True, allow_unicode=True, width=1_000)
    return text.splitlines()
