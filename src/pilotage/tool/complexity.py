"""Bounds on JSON Schemas that others wrote, so that checking a value against one stays cheap.

Time: patterns are compiled by an engine whose time is linear (schema.py). What is left is
composition: a schema that refers to itself twice for one and the same value doubles the work with
each level of the value, so such a schema takes values of a bounded depth only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from pilotage.domain.errors import BadInput

DEPTH = 40
NODES = 5_000
EXPANDED = 20_000
PATTERN = 1_000
WORK = 1_000_000
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_LOCAL = ("$ref", "$dynamicRef", "$recursiveRef")
_PLAIN = frozenset(("const", "default", "enum", "examples", "$defs", "definitions"))
"""Keywords whose value is data, not a schema, or schemas that count where they are referred to."""
_BY_NAME = frozenset(("properties", "patternProperties", "dependentSchemas"))
"""Keywords whose value holds schemas under names of the author's choice."""


def bounded(what: str, schema: Any) -> int | None:
    """How deep a value may be that is checked against `schema`, None: as deep as it comes. `what`
    names the schema in the BadInput that is raised for one that is too complex, refers to other
    documents, or is none at all."""
    if not isinstance(schema, Mapping):
        raise BadInput(f"{what} is no JSON Schema", "an object, {} at least")
    walk = _Walk(what, schema)
    walk.shape(schema, 0)
    walk.expand(schema, ())
    if walk.back < 2:
        return None
    return max(4, int(math.log(WORK) / math.log(walk.back)))


def depth(value: Any, most: int) -> bool:
    """Is the value nested at most so deep?"""
    if isinstance(value, (dict, list)):
        if most == 0:
            return False
        items = value.values() if isinstance(value, dict) else value
        return all(depth(item, most - 1) for item in items)
    return True


class _Walk:
    def __init__(self, what: str, root: Mapping[str, Any]) -> None:
        self.what, self.root = what, root
        self.nodes = self.expanded = self.back = 0

    def shape(self, value: Any, level: int) -> None:
        """Depth, size, patterns and references of the document as it is written."""
        self.nodes += 1
        if level > DEPTH or self.nodes > NODES:
            limit = f"{DEPTH} levels" if level > DEPTH else f"{NODES} values"
            raise BadInput(f"{self.what} has more than {limit}", "make it simpler")
        if isinstance(value, Mapping):
            self._keywords(value)
            for name, item in value.items():
                if name == "patternProperties" and isinstance(item, Mapping):
                    for pattern in item:
                        self._pattern(pattern)
                self.shape(item, level + 1)
        elif isinstance(value, list):
            for item in value:
                self.shape(item, level + 1)

    def _keywords(self, schema: Mapping[str, Any]) -> None:
        for name in _LOCAL:
            where = schema.get(name)
            if isinstance(where, str) and not where.startswith("#"):
                raise BadInput(f"{self.what} refers to {where[:200]}", "only #/... is allowed")
        if isinstance(schema.get("$id"), str) and schema is not self.root:
            raise BadInput(f"{self.what} has an $id inside", "refer to parts of it by #/...")
        dialect = schema.get("$schema")
        if isinstance(dialect, str) and dialect.rstrip("#") != DIALECT:
            raise BadInput(f"{self.what} is of the dialect {dialect[:200]}", DIALECT)
        if isinstance(schema.get("pattern"), str):
            self._pattern(schema["pattern"])

    def _pattern(self, pattern: str) -> None:
        if len(pattern) > PATTERN:
            raise BadInput(f"{self.what} has a pattern of {len(pattern)} characters", f"{PATTERN}")

    def expand(self, schema: Any, above: tuple[int, ...]) -> None:
        """Count what is looked at when references are followed, and how often they lead back."""
        self.expanded += 1
        if self.expanded > EXPANDED or len(above) > DEPTH * 4:
            raise BadInput(f"{self.what} refers to itself too often", "make it simpler")
        if isinstance(schema, list):
            for item in schema:
                self.expand(item, above)
            return
        if not isinstance(schema, Mapping):
            return
        if id(schema) in above:
            self.back += 1
            return
        above = (*above, id(schema))
        for name, item in schema.items():
            if name in _LOCAL and isinstance(item, str):
                self.expand(self._target(item), above)
            elif name in _BY_NAME and isinstance(item, Mapping):
                self.expand(list(item.values()), above)
            elif name not in _PLAIN:
                self.expand(item, above)

    def _target(self, where: str) -> Any:
        """The part that a local reference names; an $anchor is looked for everywhere."""
        if where == "#":
            return self.root
        if not where.startswith("#/"):
            return self._anchor(self.root, where[1:])
        found: Any = self.root
        for part in where[2:].split("/"):
            key = unquote(part).replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            elif isinstance(found, Mapping) and key in found:
                found = found[key]
            else:
                raise BadInput(f"{self.what}: there is nothing at {where[:200]}")
        return found

    def _anchor(self, value: Any, name: str) -> Any:
        if isinstance(value, Mapping):
            if name in (value.get("$anchor"), value.get("$dynamicAnchor")):
                return value
            value = list(value.values())
        if isinstance(value, list):
            return next((f for item in value if (f := self._anchor(item, name)) is not None), None)
        return None
