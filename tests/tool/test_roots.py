"""What a process may see: where a relative path begins, and what a refusal tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pilotage.domain.errors import Denied
from pilotage.tool.roots import roots


def test_a_refusal_names_the_path_that_was_meant_but_no_links_target(tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "link").symlink_to("/etc")
    for given, named in (("../other", tmp_path / "other"), ("link", allowed / "link")):
        with pytest.raises(Denied) as caught:
            roots(allowed).inside(given)
        assert caught.value.what == f"{named} lies outside what this process may see"
        assert "/etc" not in str(caught.value)
        assert "--root DIR" in caught.value.hint


def test_what_is_named_twice_is_one_root_and_told_once(tmp_path: Path) -> None:
    with pytest.raises(Denied) as caught:
        roots(tmp_path, f"{tmp_path}/x/..").inside("/")
    assert caught.value.hint.startswith(f"allowed: {tmp_path}; ")


def test_a_relative_path_begins_at_the_first_root_or_where_it_is_said(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    both = roots(first, second)
    assert both.inside("a") == first / "a"
    assert both.inside("../second/a") == second / "a"
    typed = roots(first, base=tmp_path)
    assert typed.inside("first/a") == first / "a"
    with pytest.raises(Denied, match=re.escape(f"{tmp_path}/a lies outside")):
        typed.inside("a")
