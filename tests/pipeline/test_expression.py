"""`${{ }}` in params: types that stay, texts that are never commands, names that must exist."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.domain.errors import BadInput
from pilotage.pipeline import values
from pilotage.pipeline.expression import evaluate, parse
from pilotage.pipeline.template import fill

CONTEXTS = {
    "github": {"sha": "abc", "event": {"title": "$(rm -rf /); `id` ${{ github.sha }} 'x'"}},
    "env": {"N": "1"},
    "inputs": {"flag": True, "count": 3},
    "steps": {"build": {"outcome": "succeeded", "outputs": {"tags": ["a", "b"], "deep": {"n": 2}}}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${{ inputs.flag }}", True),
        (" ${{ inputs.count }} ", 3),
        ("${{ steps.build.outputs.tags }}", ["a", "b"]),
        ("${{ steps.build.outputs.deep.n }}", 2),
        ("${{ steps.build.outcome == 'SUCCEEDED' }}", True),
        ("n=${{ inputs.count }};${{ inputs.flag }}", "n=3;true"),
        ("${{ github.nothing }}", ""),
        ("a${{ github.nothing }}b", "ab"),
        ("${{ github.sha && 'yes' || 'no' }}", "yes"),
        ("${{ 'it''s }} here' }}", "it's }} here"),
        ("no hole", "no hole"),
        ("$ {{ github.sha }}", "$ {{ github.sha }}"),
        ({"a": ["${{ env.n }}", 1, None]}, {"a": ["1", 1, None]}),
    ],
)
def test_a_value_that_is_one_expression_keeps_its_type(text: object, value: object) -> None:
    assert fill(text, CONTEXTS) == value


LARGE = {
    "inputs": {
        "b": "x" * 1_000_000,
        "list": ["x"] * 10_000,
        "keys": {"k" * 900_000: 1},
        "json": f"[{'1,' * 300_000}1]",
        "hex": "0x" + "f" * 1_000,
    }
}


@pytest.mark.parametrize(
    "text",
    [
        " && ".join(["contains(format('{0}{0}{0}{0}', inputs.b), '~')"] * 400),
        " || ".join(["inputs.b == inputs.b && false"] * 400),
        "contains(inputs.list, inputs.b)",
        " || ".join(["toJSON(inputs.list) && false"] * 400),
        " || ".join(["inputs.keys.none"] * 400),
        " || ".join(["inputs.list[inputs.b] && false"] * 400),
        " || ".join(["fromJSON(inputs.json) && false"] * 400),
        " || ".join(["false"] * 2_000),
    ],
    ids=["contains", "equal", "list", "toJSON", "look up", "item", "fromJSON", "nodes"],
)
def test_no_value_is_more_work_than_all_have(text: str) -> None:
    """Each of them, a hundred times, was minutes."""
    with pytest.raises(BadInput, match="more than 16 Mi characters"):
        fill({f"p{n}": f"${{{{ {text.replace('~', str(n))} }}}}" for n in range(100)}, LARGE)


def test_a_number_that_is_too_large_is_infinite() -> None:
    assert fill("${{ inputs.hex > 1 && inputs.hex == Infinity }}", LARGE) is True


def test_large_values_are_read_a_few_times() -> None:
    text = "${{ contains(inputs.b, 'y') || startsWith(toJSON(inputs.b), '\"x') }}"
    assert fill([text] * 2, LARGE) == [True, True]


@pytest.mark.parametrize(
    "text",
    [
        "${{ env.LONG == 1 }}",
        "${{ env.FRACTION == 1 }}",
        "${{ env.POWER == 1 }}",
        "${{ format(env.FIELD, 1) == 1 }}",
        "${{ format(env.FIELDS, 1) == 1 }}",
    ],
)
def test_a_text_that_is_almost_a_number_or_a_field_is_read_once(text: str) -> None:
    """Reading it anew from each of its characters, and holding the interpreter, took hours."""
    many = "1" * 1_000_000
    long = {
        "LONG": many + "x",
        "FRACTION": f"1.{many}x",
        "POWER": f"1e{many}x",
        "FIELD": "{" + many,
        "FIELDS": "{1" * 300_000,
    }
    with contextlib.suppress(BadInput):
        assert fill(text, {**CONTEXTS, "env": long}) is False


def test_what_an_expression_brings_in_is_not_read_again() -> None:
    title = CONTEXTS["github"]["event"]["title"]  # type: ignore[index]
    assert fill("${{ github.event.title }}", CONTEXTS) == title
    assert fill("<${{ github.event.title }}>", CONTEXTS) == f"<{title}>"


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("${{ gihub.sha }}", "no context 'gihub'", "github"),
        ("${{ secrets.TOKEN }}", "no context 'secrets'", "known: github, env, inputs, steps"),
        ("${{ contain('a', 'b') }}", "no function 'contain'", "contains"),
        ("${{ always() }}", "no function 'always'", ""),
        ("${{ github.* }}", "unexpected '* '", ""),
        ("${{ github.sha", "not closed", ""),
        ('${{ github["sha"] }}', "unexpected", "single quotes"),
        ("${{ join() }}", "join does not take 0 arguments", ""),
        ("${{ fromJSON('{') }}", "not JSON", ""),
        ("${{ " + "!" * 60 + "true }}", "nested deeper", ""),
        ("${{ " + "(" * 9000 + "1" + ")" * 9000 + " }}", "nested deeper", ""),
        ("${{ '" + "a" * 22_000 + "' }}", "longer than", ""),
    ],
)
def test_an_expression_that_is_none_says_why(text: str, what: str, hint: str) -> None:
    with pytest.raises(BadInput) as caught:
        fill(text, CONTEXTS)
    assert what in caught.value.what
    assert hint in caught.value.hint


def test_it_is_known_what_an_expression_reads() -> None:
    read = parse("steps.a-b.outputs[github.x].y == steps['q'] && format('{0}', inputs.z)").reads
    assert set(read) == {("steps", "a-b", "outputs", ""), ("github", "x"), ("steps", "q"),
                         ("inputs", "z")}  # fmt: skip


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@given(json_values)
def test_json_goes_out_and_comes_back(value: object) -> None:
    again = evaluate(parse("fromJSON(toJSON(github.x))"), {"github": {"x": value}})
    assert again == value


@given(json_values, json_values)
def test_exactly_one_of_equal_and_unequal_holds(left: object, right: object) -> None:
    contexts = {"github": {"l": left, "r": right}}
    equal = evaluate(parse("github.l == github.r"), contexts)
    assert evaluate(parse("github.l != github.r"), contexts) is (not equal)
    assert evaluate(parse("github.r == github.l"), contexts) is equal


@given(st.text())
def test_any_text_in_single_quotes_is_itself(text: str) -> None:
    assert evaluate(parse("'" + text.replace("'", "''") + "'"), {}) == text


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_as_text_means_the_number(number: float) -> None:
    again = values.number(values.text(number))
    assert again == pytest.approx(number, abs=1e-15, nan_ok=True)


@given(st.text(max_size=200))
def test_any_text_is_an_expression_or_an_error(text: str) -> None:
    with contextlib.suppress(BadInput):
        assert parse(text).text == text
