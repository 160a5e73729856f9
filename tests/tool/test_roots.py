"""What a process may see: where a relative path begins, and what a refusal tells."""

from __future__ import annotations

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


def test_a_relative_path_begins_at_the_first_root(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    both = roots(first, second)
    assert both.inside("a") == first / "a"
    assert both.inside("../second/a") == second / "a"
