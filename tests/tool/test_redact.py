"""Secrets stay out of what is stored and shown; data stays whole."""

from __future__ import annotations

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
