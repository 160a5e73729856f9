"""The canonical form of JSON: RFC 8785, by its own examples."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.tool.canonical import DEPTH, canonical, digest, number

# RFC 8785, appendix B: the bits of a double, and its text. Of three integers it writes zeros for
# the digits that a double needs not ("295147905179352830000"), which another integer has.
DOUBLES = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352825856",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999737856",
    "444b1ae4d6e2ef4f": "999999999999999868928",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize(("bits", "text"), DOUBLES.items())
def test_numbers_are_written_as_the_rfc_says(bits: str, text: str) -> None:
    assert number(struct.unpack(">d", bytes.fromhex(bits))[0]) == text


def test_keys_are_in_order_of_their_utf_16_units() -> None:
    """RFC 8785, 3.2.3: an emoji's first half sorts before a Hebrew ligature."""
    mixed = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\u00f6": 7}
    assert list(json.loads(canonical(mixed)).values()) == [2, 4, 6, 7, 1, 5, 3]


def test_what_means_the_same_has_one_digest() -> None:
    one = json.loads('{"b": 1.0, "a": [1e2, -0.0, "\\u00e9"]}')
    other = json.loads('{ "a":[100,0,"é"],"b":1 }')
    assert digest(one) == digest(other)


def test_what_a_double_cannot_hold_keeps_its_digits() -> None:
    assert digest({"maximum": 2**53 + 1}) != digest({"maximum": 2**53 + 2})
    assert digest("\ud800") != digest("\ud801")


@pytest.mark.parametrize("double", [2.0**63, -(2.0**63), 2.0**53 + 2, 1e20, 9.999999999999997e20])
def test_a_double_shares_its_form_with_the_integer_that_it_is_and_with_no_other(
    double: float,
) -> None:
    """An approval for 9223372036854775808.0 is none for 9223372036854776000."""
    exact = int(double)
    assert digest({"n": double}) == digest({"n": exact})
    for other in {round(exact, -at) for at in range(1, 5)} | {exact + 1, exact - 1}:
        assert (digest({"n": other}) == digest({"n": double})) == (other == exact)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, b"x", {"a": object()}])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"JSON|key"):
        canonical(value)


def test_nesting_has_a_bound() -> None:
    value: object = 1
    for _ in range(DEPTH):
        value = [value]
    assert canonical(value)
    with pytest.raises(ValueError, match="deep"):
        canonical([value])


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(plain)
def test_it_reads_back_as_what_was_written(value: object) -> None:
    again = json.loads(canonical(value))
    assert again == value
    assert canonical(again) == canonical(json.loads(json.dumps(value, indent=3)))
