"""Secrets stay out of what is stored and shown; data stays whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from pilotage.tool.redact import MASK, Redactor

GITHUB = "ghp_" + "a1" * 20
SECRETS = (
    GITHUB,
    "github_pat_" + "a" * 70,
    "glpat-" + "x" * 20,
    "AKIA" + "ABCDEFGH12345678",
    "xoxb-1234567890-abcdef",
    "plt_" + "k" * 43,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.SflKxwRJSMeKKF2QT4",
    "Bearer abcdefghijklmnopqrstuvwxyz",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\ncut off",
)


@pytest.mark.parametrize("secret", SECRETS)
def test_what_looks_like_a_secret_is_taken_out_of_arguments(secret: str) -> None:
    kept = Redactor().arguments({"text": f"before {secret} after", "list": [{"deep": secret}]})
    assert secret not in str(kept)
    assert MASK in str(kept)


@pytest.mark.parametrize(
    "name",
    ["password", "DB_PASSWD", "api_key", "apiKey", "access_token", "clientSecret", "Authorization"],
)
def test_a_name_that_says_secret_hides_all_below_it(name: str) -> None:
    given = {name: "short", "more": {name: ["a1", {"x": "b2", "n": 7, "on": True}]}}
    kept = Redactor().arguments(given)
    assert kept == {name: MASK, "more": {name: [MASK, {"x": MASK, "n": MASK, "on": True}]}}


def test_ordinary_arguments_are_kept_as_they_are() -> None:
    given = {"path": "src/main.py", "depth": 3, "flags": ["a", None, True], "note": "x" * 100}
    assert Redactor().arguments(given) == given


def test_long_texts_are_cut_in_the_audit_only() -> None:
    redactor = Redactor()
    assert len(redactor.arguments({"text": "a" * 10_000})["text"]) == 4_000
    assert len(redactor.result({"text": "a" * 10_000})["text"]) == 10_000


def test_a_known_secret_is_taken_out_everywhere_line_by_line() -> None:
    redactor = Redactor()
    assert not redactor.knows
    redactor.mask("first line\nsecond line")
    assert redactor.knows
    assert redactor.result({"log": ["x second line y"]}) == {"log": [f"x {MASK} y"]}
    assert redactor.arguments({"a": "first line"}) == {"a": MASK}
    assert redactor.text("first line") == MASK


def test_a_mask_says_which_secret_it_stands_for() -> None:
    redactor = Redactor()
    redactor.mask("sesame-open-1234", "TRACKER_TOKEN")
    redactor.mask("sesame-open-1234-5", "LONGER")
    redactor.mask("sesame-open-1234", "SECOND")
    said = {"a": "sesame-open-1234, sesame-open-1234-5"}
    masked = {"a": "[redacted TRACKER_TOKEN], [redacted LONGER]"}
    assert redactor.result(said) == redactor.arguments(said) == masked
    assert redactor.text(said["a"]) == masked["a"]
    wire = b'"result":{"a":"sesame-open-123\\u0034"}'
    assert redactor.wire(wire) == b'"result":{"a":"[redacted TRACKER_TOKEN]"}'


def test_a_short_or_empty_secret_does_not_eat_the_text() -> None:
    redactor = Redactor()
    redactor.mask("")
    redactor.mask("ab")
    assert redactor.result({"text": "about"}) == {"text": "about"}


def test_a_result_is_not_guessed_at() -> None:
    assert Redactor().result({"token": "abc", "finding": GITHUB}) == {
        "token": "abc",
        "finding": GITHUB,
    }


class Endless(Mapping[str, Any]):
    """Counts how many of its items were looked at."""

    def __init__(self) -> None:
        self.taken = 0

    def __getitem__(self, name: str) -> Any:
        self.taken += 1
        return {}

    def __iter__(self) -> Iterator[str]:
        return (str(number) for number in range(10_000_000))

    def __len__(self) -> int:
        return 10_000_000


def test_of_arguments_no_more_is_looked_at_than_is_kept() -> None:
    many = Endless()
    assert "cut" in Redactor().arguments({"a": many, "b": "AKIAABCDEFGH12345678"})
    assert many.taken < 20_000


def test_arguments_that_are_too_large_are_kept_as_their_size_and_digest() -> None:
    given = {"password": "hunter2", "more": {f"k{number}": number for number in range(10_000)}}
    raw = msgspec.json.encode(given)
    digest = hashlib.sha256(raw).hexdigest()
    assert Redactor().arguments(given) == {"cut": len(raw), "sha256": digest}
    texts = {"texts": ["x" * 1_000_000] * 10}
    mark = "... (cut: 1000000 characters)"
    assert Redactor().arguments(texts) == {"texts": ["x" * (4_000 - len(mark)) + mark] * 10}


def test_a_secret_on_the_edge_of_what_is_looked_at_is_not_shown() -> None:
    redactor = Redactor()
    redactor.mask("known-secret-" + "k" * 4_000)
    for start in (3_990, 4_000, 8_000, 8_090):
        text = "x" * start + "known-secret-" + "k" * 4_000 + GITHUB
        shown = redactor.arguments({"text": text})["text"]
        assert "known" not in shown
        assert len(shown) <= 4_000


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize(
    "secret", ['p/a"s\\s', "pass\twort-ä-\U0001f600", "\x01\x08\x0c\x7f-secret"]
)
def test_a_known_secret_is_found_however_json_writes_it(secret: str, ascii_only: bool) -> None:
    redactor = Redactor()
    redactor.mask(secret)
    value = {"text": f"a {secret} b", f"name {secret}": ["more"]}
    clean = {"text": f"a {MASK} b", f"name {MASK}": ["more"]}
    assert redactor.result(value) == clean
    text = json.dumps({"result": value}, ensure_ascii=ascii_only)
    for member in (text[1:-1], text[1:-1].replace("/", "\\/")):
        cleaned = redactor.wire(member.encode())
        assert json.loads(b"{" + cleaned + b"}") == {"result": clean}


def test_a_member_without_a_secret_stays_the_very_same_bytes() -> None:
    redactor = Redactor()
    redactor.mask("known-secret")
    for text in ('"result": {"a": "\\u0041\\/ \\n x"}', '"result":   {"b":  1.50}'):
        assert redactor.wire(text.encode()) is not None
        member = text.encode()
        assert redactor.wire(member) is member


def test_many_secrets_are_each_taken_out_the_longest_first() -> None:
    redactor = Redactor()
    for secret in ("abcd", "abcd-efgh", "redacted"):
        redactor.mask(secret)
    said = redactor.result({"a": "abcd abcd-efgh x", "b": "nothing"})
    assert "abcd" not in said["a"]
    assert "efgh" not in said["a"]
    assert said["b"] == "nothing"


def test_no_argument_is_gone_because_its_name_is_a_secret_too() -> None:
    redactor = Redactor()
    redactor.mask("known-one")
    redactor.mask("known-two")
    shown = redactor.arguments({"known-one": "a harmless thing", "known-two": "another"})
    assert list(shown.values()) == ["a harmless thing", "another"]


def test_what_cannot_be_read_is_not_handed_on_where_a_secret_may_be_in_it() -> None:
    redactor = Redactor()
    redactor.mask("known-secret")
    wire = redactor.wire(b'"result":{"text":"known\\u002dsecret","n":1e999}')
    assert wire.startswith(b'"error":')
