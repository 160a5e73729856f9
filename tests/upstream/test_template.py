"""A value stays where its variable stands, whatever it holds."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.domain.errors import BadInput
from pilotage.upstream.template import parse

TEMPLATE = parse("https://api.example/v1/tickets/{id}/notes?q={text}&limit={limit}&fixed=1")


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_value_changes_host_path_or_query(id: str, text: str) -> None:
    try:
        url = TEMPLATE.fill({"id": id, "text": text})
    except BadInput:
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "api.example", "")
    assert parts.path.count("/") == 4
    assert unquote(parts.path.split("/")[3]) == id
    assert parts.path.endswith("/notes")
    assert parse_qsl(parts.query, keep_blank_values=True) == [("q", text), ("fixed", "1")]


@pytest.mark.parametrize(
    "id",
    [
        "",
        ".",
        "..",
        "../../admin",
        "a/../b",
        "..\\admin",
        "..;/admin",
        "%2e%2e",
        "%2e%2e%2fadmin",
        "%252e%252e",
        "%25252e%25252e%25252fx",
        "a\nb",
        "a\x00b",
        "%00",
        "\ud800",
        ["a"],
        None,
        {},
    ],
)
def test_what_walks_along_the_path_is_refused(id: Any) -> None:
    with pytest.raises(BadInput):
        TEMPLATE.fill({"id": id})


@pytest.mark.parametrize(
    ("id", "there"),
    [
        ("a/b", "a%2Fb"),
        ("a?b=c&d#e", "a%3Fb%3Dc%26d%23e"),
        ("@evil.example", "%40evil.example"),
        ("a b+c", "a%20b%2Bc"),
        ("ä", "%C3%A4"),
        ("...", "..."),
        ("a.b", "a.b"),
        (7, "7"),
        (7.0, "7"),
        (True, "true"),
    ],
)
def test_a_value_is_encoded(id: Any, there: str) -> None:
    assert TEMPLATE.fill({"id": id}) == f"https://api.example/v1/tickets/{there}/notes?fixed=1"


def test_two_variables_cannot_make_dots_together() -> None:
    with pytest.raises(BadInput):
        parse("https://a.example/{x}{y}/b").fill({"x": ".", "y": "."})
    with pytest.raises(BadInput):
        parse("https://a.example/{x}./b").fill({"x": "."})


def test_a_parameter_without_a_value_is_left_out() -> None:
    assert TEMPLATE.fill({"id": "1", "limit": 5}).endswith("notes?limit=5&fixed=1")


@pytest.mark.parametrize(
    "text",
    [
        "https://{host}/a",
        "https://a.example:{port}/",
        "https://{user}@a.example/",
        "{scheme}://a.example/",
        "ftp://a.example/",
        "https://a.example/a#{b}",
        "https://a.example/{a",
        "https://a.example/a}",
        "https://a.example/{a,b}",
        "https://a.example/{+a}",
        "https://a.example/{/a}",
        "https://a.example/a{?b}",
        "https://a.example/?{a}=b",
        "https://a.example/../b",
        "https://a.example/%2e%2e/b",
        "https://a.example/a b",
        "https://a.example/ä",
        "a.example",
        "",
    ],
)
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse(text)
