"""Check arguments against a JSON Schema (Draft 2020-12), compiled once a tool."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

import jsonschema_rs

from pilotage.domain.errors import BadInput, PilotageError
from pilotage.domain.text import visible
from pilotage.tool.complexity import bounded, depth

MOST, NAMED = 1_000, 50
"""Arguments of one call, and how many that are not known are named: finding out what may be
meant by a name takes time."""
PATTERN_BYTES = 1 << 20
"""What one compiled pattern of others may take."""


class Arguments:
    """A compiled input schema. References to other documents are refused when it is compiled.
    `foreign`: others wrote it, so it is held to bounds.

    What it says about an argument never quotes the argument: it may be a secret.
    """

    def __init__(
        self, tool: str, schema: Mapping[str, Any], *, open: bool, foreign: bool = False
    ) -> None:
        self._tool = tool
        self._open = open
        what = f"the input schema of {tool}"
        self._deepest = bounded(what, schema) if foreign else None
        self._known = frozenset(schema.get("properties", {}))
        self._closed = (
            schema.get("additionalProperties") is False and "patternProperties" not in schema
        )
        _refuse_remote(tool, schema)
        self._validator = compiled(what, schema, foreign=foreign)

    def check(self, arguments: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        """The arguments that count, and the names of those that were ignored."""
        if len(arguments) > MOST:
            raise BadInput(f"{self._tool}: {len(arguments)} arguments", f"at most {MOST}")
        ignored: tuple[str, ...] = ()
        if self._open:
            ignored = tuple(sorted(set(arguments) - self._known))
            if ignored:
                arguments = {k: v for k, v in arguments.items() if k in self._known}
        if self._deepest is not None and not depth(arguments, self._deepest):
            raise BadInput(f"{self._tool}: the arguments are nested deeper than {self._deepest}")
        if not self._validator.is_valid(arguments):
            path, _, what = self.problems(arguments)[0]
            where = ".".join(str(part) for part in path) or "arguments"
            raise BadInput(
                f"{self._tool}: {where}: {what}", f"known: {', '.join(sorted(self._known))}"
            )
        return arguments, ignored

    def warnings(self, ignored: Iterable[str]) -> tuple[str, ...]:
        """What to say of arguments that did not count, each with the one that may be meant."""
        return tuple(self._unknown(name) for name, _ in zip(ignored, range(NAMED), strict=False))

    def problems(
        self, arguments: Mapping[str, Any]
    ) -> list[tuple[tuple[str | int, ...], str, str]]:
        """All that is wrong: the path, the keyword of the schema that says so, and what. For an
        argument that the schema does not know the keyword is "ignored" or "unknown", as it
        would be."""
        keyword = "ignored" if self._open else "unknown"
        found: list[tuple[tuple[str | int, ...], str, str]] = []
        if self._open or self._closed:
            extra = sorted(set(arguments) - self._known)[:NAMED]
            found += [((name,), keyword, self._unknown(name)) for name in extra]
            arguments = {k: v for k, v in arguments.items() if k in self._known}
        if self._deepest is not None and not depth(arguments, self._deepest):
            return [*found, ((), "depth", f"nested deeper than {self._deepest}")]
        for error in self._validator.iter_errors(arguments):
            keyword = str(error.schema_path[-1]) if error.schema_path else ""
            found.append((tuple(error.instance_path), keyword, error.message))
        return found

    def _unknown(self, name: str) -> str:
        close = difflib.get_close_matches(name, self._known, 1)
        meant = f"; did you mean {close[0]!r}?" if close else ""
        fate = " is ignored" if self._open else ""
        return f"unknown argument '{visible(name)}'{fate}{meant}"


class Answers:
    """A compiled output schema that others wrote, held to the same bounds."""

    def __init__(self, what: str, schema: Mapping[str, Any]) -> None:
        self._deepest = bounded(what, schema)
        self._validator = compiled(what, schema, foreign=True)

    def wrong(self, value: Any) -> str:
        """What about `value` does not fit, without quoting it; "" where all does."""
        if self._deepest is not None and not depth(value, self._deepest):
            return f"it is nested deeper than {self._deepest}"
        if self._validator.is_valid(value):
            return ""
        error = next(iter(self._validator.iter_errors(value)))
        where = ".".join(str(part) for part in error.instance_path)
        return f"{where}: {error.message}" if where else error.message


def compiled(
    what: str, schema: Mapping[str, Any], *, foreign: bool
) -> jsonschema_rs.Draft202012Validator:
    """A validator that fetches nothing. `foreign`: its patterns take linear time, so that none can
    hold us up; such patterns know no look-around and no back references."""
    engine = jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES) if foreign else None
    try:
        return jsonschema_rs.Draft202012Validator(
            dict(schema), mask="the value", retriever=_fetch_nothing, pattern_options=engine
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        why = str(error).split("\n", 1)[0][:300]
        raise BadInput(f"{what} is not usable: {why}", "JSON Schema 2020-12") from None


def _fetch_nothing(where: str) -> Any:
    raise ValueError(f"{where} is another document")


def _refuse_remote(tool: str, schema: Any) -> None:
    if isinstance(schema, Mapping):
        reference = schema.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            raise PilotageError(
                f"the input schema of {tool} refers to {reference}", "only #/... is allowed"
            )
        for value in schema.values():
            _refuse_remote(tool, value)
    elif isinstance(schema, list):
        for value in schema:
            _refuse_remote(tool, value)
