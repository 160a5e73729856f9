"""What an MCPTool says that a built-in takes, beside what it really takes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pilotage.operator.conditions import FALSE, TRUE, Condition
from pilotage.operator.definition import schema

MATCH = "ParametersMatch"
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}


def match(declared: Mapping[str, Any], takes: Mapping[str, Any]) -> Condition:
    """Whoever calls as `declared` says (a JSON Schema, `required` in either way) is understood; if
    not, why not. The tool is called as it is all the same: this is no reason not to be Ready."""
    said = list(_differences(schema(declared), takes))
    if not said:
        return Condition(MATCH, TRUE, "Match", "it takes what spec.parameters says")
    hint = "mend spec.parameters, or leave it out: the tool's own schema counts"
    return Condition(MATCH, FALSE, "Differ", f"{'; '.join(said)} ({hint})")


def _differences(declared: Mapping[str, Any], takes: Mapping[str, Any]) -> Iterator[str]:
    own, real = _mapping(declared.get("properties")), _mapping(takes.get("properties"))
    required = _list(declared.get("required"))
    for name in own:
        if name not in real:
            if takes.get("additionalProperties") is False:
                yield f"it takes no {name}"
            continue
        wrong, right = _types(own[name]), _types(real[name])
        if wrong and right and not wrong & right:
            yield f"{name} is of the type {_or(right)}, not {_or(wrong)}"
    for name in takes.get("required") or ():
        if name not in own:
            yield f"it needs {name}"
        elif name not in required:
            yield f"it needs {name}, which is not required here"


def _types(of: Any) -> set[str]:
    """The types of JSON that a schema allows; none where it does not say."""
    if not isinstance(of, Mapping):
        return set()
    if "type" in of:
        found = {one for one in _list(of["type"]) or [of["type"]] if isinstance(one, str)}
    elif "enum" in of or "const" in of:
        values = _list(of.get("enum", [of.get("const")]))
        found = {_TYPES.get(type(value), "object") for value in values}
    else:
        each = [_types(one) for word in ("anyOf", "oneOf") for one in _list(of.get(word))]
        found = set().union(*each) if all(each) else set()
    return found | ({"integer"} if "number" in found else set())


def _mapping(value: Any) -> Mapping[str, Any]:
    """Anything may stand in a schema that somebody has written."""
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _or(types: set[str]) -> str:
    return " or ".join(sorted(types))
