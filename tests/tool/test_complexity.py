"""Schemas that others wrote cannot be made expensive, and fetch nothing."""

from __future__ import annotations

from typing import Any

import pytest

from pilotage.domain.errors import BadInput
from pilotage.tool.complexity import bounded
from pilotage.tool.schema import Answers, Arguments

ANY: dict[str, Any] = {
    "$defs": {
        "any": {
            "anyOf": [
                {"type": ["string", "number", "boolean", "null"]},
                {"type": "array", "items": {"$ref": "#/$defs/any"}},
                {"type": "object", "additionalProperties": {"$ref": "#/$defs/any"}},
            ]
        }
    },
    "type": "object",
    "properties": {"value": {"$ref": "#/$defs/any"}},
}


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        value = {"type": "object", "properties": {"a": value}}
    return value


def doubling(levels: int) -> dict[str, Any]:
    parts: dict[str, Any] = {
        f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(levels)
    }
    return {"$defs": {**parts, f"a{levels}": {"type": "object"}}, "$ref": "#/$defs/a0"}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (deep(60), "levels"),
        ({"properties": {f"p{n}": {"type": "string"} for n in range(6_000)}}, "values"),
        (doubling(30), "refers to itself too often"),
        (
            {**doubling(30), "$ref": "#", "properties": {"const": {"$ref": "#/$defs/a0"}}},
            "too often",
        ),
        ({"$ref": "http://127.0.0.1:1/x"}, "refers to http"),
        ({"$dynamicRef": "http://127.0.0.1:1/x"}, "refers to http"),
        ({"$id": "http://127.0.0.1:1/x", "$ref": "y"}, "refers to y"),
        ({"properties": {"a": {"$id": "http://127.0.0.1:1/x", "$ref": "#/y"}}}, r"\$id inside"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "dialect"),
        ({"$ref": "#/$defs/gone"}, "nothing at"),
        ({"pattern": "a" * 2_000}, "pattern of 2000"),
        ({"patternProperties": {"a" * 2_000: {}}}, "pattern of 2000"),
        ({"pattern": "(?:a{1000}){1000}"}, "not usable"),
        ({"pattern": r"^(a+)+(?=b)\1$"}, "not usable"),
        ({"type": 5}, "not usable"),
        ([], "no JSON Schema"),
        (None, "no JSON Schema"),
    ],
)
def test_what_is_too_complex_or_leads_elsewhere_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        Arguments("t", schema, open=False, foreign=True)
    with pytest.raises(BadInput, match=why):
        Answers("the output schema of t", schema)


def test_a_pattern_that_takes_others_for_ever_is_cheap_here() -> None:
    """Exponential in an engine that backtracks: 2^100 000 steps, which no machine ever ends."""
    answers = Answers("t", {"type": "string", "pattern": "^(a+)+$"})
    assert answers.wrong("a" * 100_000 + "!") != ""
    assert answers.wrong("a" * 100_000) == ""


def test_a_schema_that_refers_to_itself_takes_values_of_a_bounded_depth() -> None:
    most = bounded("it", ANY)
    assert most is not None
    arguments = Arguments("t", ANY, open=False, foreign=True)
    value: Any = 1
    for _ in range(most - 2):
        value = [value]
    assert arguments.check({"value": value})[1] == ()
    with pytest.raises(BadInput, match="nested deeper"):
        arguments.check({"value": [[[value]]]})
    assert arguments.problems({"value": [[[value]]]})[0][1] == "depth"


def test_a_list_that_refers_to_itself_once_is_not_bounded() -> None:
    chain = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert bounded("it", chain) is None
    assert bounded("it", {"type": "object", "properties": {"const": {"type": "string"}}}) is None


def test_what_is_said_of_a_wrong_answer_does_not_quote_it() -> None:
    answers = Answers("t", {"type": "object", "properties": {"a": {"type": "integer"}}})
    assert answers.wrong({"a": 1}) == ""
    said = answers.wrong({"a": "hunter2"})
    assert said.startswith("a: ")
    assert "hunter2" not in said
