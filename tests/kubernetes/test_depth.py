"""What lies too deep is cut off where it is read, and nothing else changes."""

from __future__ import annotations

import msgspec
import pytest

from pilotage.kubernetes.depth import CUT, decoder, deeper, shallow

read = decoder(dict)


@pytest.mark.parametrize("depth", [1, CUT - 2, CUT, 900, 5_000, 100_000])
def test_any_depth_is_read_and_what_is_beside_it_is_whole(depth: int) -> None:
    text = '{"before":"]}\\"[{","deep":' + '{"a":[' * depth + "1" + "]}" * depth + ',"after":[{}]}'
    found = read(text.encode())
    assert (found["before"], found["after"]) == (']}"[{', [{}])
    assert deeper(found, 100) is (depth > 49)
    assert not deeper(found, 2_000)


def test_what_is_cut_says_so() -> None:
    found = msgspec.json.decode(shallow(b'{"a":{"b":{"c":1}},"d":[1,[],[[]]]}', 2))
    out = "(nested too deep: left out)"
    assert found == {"a": {"b": out}, "d": [1, out, out]}


@pytest.mark.parametrize("text", [b"[" * 5_000, b"{" * 5_000, b'{"a":' * 5_000 + b"1"])
def test_half_an_answer_is_no_answer(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read(text)
