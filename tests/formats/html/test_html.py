"""The HTML report: what it shows, and that nothing of a scan becomes markup."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import unicodedata
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formats.sample import HOSTILE, clean, finding, sample, spoken
from pilotage.domain.finding import Location, Severity
from pilotage.domain.scan import Scan
from pilotage.domain.text import visible
from pilotage.formats.html import HTML
from pilotage.formats.page.markup import link, tag

Attributes = list[tuple[str, str | None]]


class Reader(HTMLParser):
    """Elements, attributes and text as a browser sees them."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, Attributes]] = []
        self.texts: list[str] = []
        self.raw: dict[str, str] = {}
        self.comments = 0
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        self.elements.append((tag, attrs))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("style", "script"):
            self.raw[self._inside] = data
        else:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments += 1


def read(data: bytes | str) -> Reader:
    reader = Reader()
    reader.feed(data.decode() if isinstance(data, bytes) else data)
    reader.close()
    return reader


def page(scan: Scan) -> Reader:
    return read(HTML.render(scan))


def shown(scan: Scan) -> str:
    return " ".join(" ".join(page(scan).texts).split())


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: repr(text)[:20])
def test_no_element_and_no_attribute_comes_from_what_was_scanned(hostile: str) -> None:
    """The page of a hostile scan has the elements of the page of a plain one, one by one."""
    plain, taken = page(spoken("plain")), page(spoken(hostile))
    assert [tag for tag, _ in taken.elements] == [tag for tag, _ in plain.elements]
    for (_, attributes), (_, expected) in zip(taken.elements, plain.elements, strict=True):
        assert attributes == expected
    assert taken.comments == 0
    assert taken.raw == plain.raw


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda text: repr(text)[:20])
def test_nothing_invisible_or_reordering_reaches_the_page(hostile: str) -> None:
    written = HTML.render(spoken(hostile)).decode()
    wrong = [c for c in written if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")]
    assert not wrong


@given(st.text())
def test_any_text_stays_text(text: str) -> None:
    taken = read(tag("p", text, title=text))
    assert taken.elements == [("p", [("title", visible(text))])]
    assert "".join(taken.texts) == visible(text)


def test_the_page_asks_nobody_for_anything() -> None:
    taken = page(sample())
    for name, attributes in taken.elements:
        assert name not in ("link", "img", "iframe", "object", "embed", "base", "image", "use")
        for key, value in attributes:
            assert not key.startswith("on")
            assert key not in ("src", "style", "srcset", "action", "xlink:href")
            if key == "href":
                assert name == "a"
                assert (value or "").startswith("https://")
    assert "url(" not in taken.raw["style"]
    assert "@import" not in taken.raw["style"]


def test_its_own_policy_allows_its_style_and_script_and_nothing_else() -> None:
    taken = page(sample())
    [policy] = [
        dict(attributes)["content"] or ""
        for name, attributes in taken.elements
        if name == "meta" and dict(attributes).get("http-equiv")
    ]
    assert policy.startswith("default-src 'none'; ")
    for kind in ("style", "script"):
        digest = base64.b64encode(hashlib.sha256(taken.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//evil", "https://", "", "https://a b"]
)
def test_only_an_address_of_the_web_becomes_a_link(url: str) -> None:
    assert link(url, "B602") == "B602"
    assert link("https://example.org/B602", "B602").startswith("<a href=")


def test_the_verdict_stands_first_with_its_reason_and_what_changes_it() -> None:
    text = shown(sample())
    assert "FAIL 1 critical finding, more than the 0 allowed" in text
    assert "What changes it: mend it, or change risk_level_config.critical" in text
    assert text.index("more than the 0 allowed") < text.index("Start here") < text.index("By type")


def test_the_page_shows_counts_findings_evidence_and_gaps() -> None:
    text = shown(sample())
    for expected in (
        "1 critical 3 high 1 unknown 1 medium 0 low 1 info",
        "Update django 2.2.0 in requirements.txt",
        "fixed in 2.2.28, 3.2.13",
        "bandit, ruff",
        "7 of 7 files",
        "big.sql larger than 32 MiB",
        "eslint timed out: killed after 300 s",
        "trivy image no image was given",
        "`in_source: never` in default rules counts them again",
        "the advisories of PyPI end on 2023-08-30",
        "INCOMPLETE eslint (code): timed out",
    ):
        assert expected in text, expected


def test_a_clean_page_does_not_say_more_than_is_known() -> None:
    text = shown(clean())
    assert "PASS" in text
    assert "No scanner that looked has found anything." in text
    assert "No scanner has left out anything that it knows of." in text


def test_a_table_that_no_browser_likes_is_cut_and_says_so() -> None:
    many = tuple(finding(location=Location("a.py", n)) for n in range(1, 2102))
    text = shown(sample(findings=many, counts={Severity.HIGH: 2101}))
    assert "101 more, the least severe, stand in the JSON report." in text
    assert "a.py:2000" in text
    assert "a.py:2001" not in text


def test_headings_go_down_one_level_at_a_time_and_every_column_has_a_name() -> None:
    names = [name for name, _ in page(sample()).elements]
    levels = [int(name[1]) for name in names if re.fullmatch(r"h\d", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(low - high <= 1 for high, low in itertools.pairwise(levels))
    headers = [dict(attributes) for name, attributes in page(sample()).elements if name == "th"]
    assert all(header.get("scope") in ("col", "row") for header in headers)
