"""What every parser owes: its own report is read, anything else is refused, never clean."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from pilotage import shelf
from pilotage.scan.scanner import Raw, Scanner, Unusable
from scanners import golden
from scanners.samples import SAMPLES

SHELF = shelf.parts("pilotage.scanners", Scanner)
each = pytest.mark.parametrize("name", list(SAMPLES))


def parse(name: str, raw: Raw) -> Any:
    return golden.plain(raw, SHELF[name].passes[0].parse(raw))


@each
def test_a_recorded_report_is_read_as_expected(name: str) -> None:
    raw = golden.recorded(name)
    seen = parse(name, raw)
    assert seen["findings"]
    assert seen == golden.expected(name)


@each
def test_every_file_of_the_sample_is_read_or_said_to_be_unread(name: str) -> None:
    told = golden.expected(name)
    seen = {*told["read"], *(path for path, _ in told["unread"])}
    left_to_the_engine = {"CVS/left.py", "node_modules/left.py", "node_modules/left/index.js"}
    unnamed = {"zizmor": {".github/workflows/broken.yml"}}.get(name, set())
    assert seen == set(SAMPLES[name]) - left_to_the_engine - unnamed


@each
def test_a_field_that_is_new_disturbs_nothing(name: str) -> None:
    raw = golden.recorded(name)

    document = json.loads(raw.stdout)
    rows = document if isinstance(document, list) else next(
        value for value in document.values() if isinstance(value, list) and value
    )  # fmt: skip
    for row in rows:
        row["added_next_year"] = {"any": ["thing"]}
    seen = parse(name, replace(raw, stdout=json.dumps(document).encode()))
    assert seen == golden.expected(name)


@each
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.7, 0.99])
def test_half_a_report_is_no_report(name: str, cut: float) -> None:
    raw = golden.recorded(name)
    half = raw.stdout.strip()[: int(len(raw.stdout.strip()) * cut)]
    with pytest.raises(Unusable):
        parse(name, replace(raw, stdout=half))


@each
@pytest.mark.parametrize(
    "text",
    [
        " \n",
        "null",
        "0",
        '"done"',
        "{}",
        '{"error": "rate limited"}',
        '{"message": "no", "code": 1}',
        "[{}]",
        "[null]",
        '[{"error": "x"}]',
        "<html>502 Bad Gateway</html>",
        "[" * 100_000,
    ],
)
def test_what_is_no_report_is_refused(name: str, text: str) -> None:
    with pytest.raises(Unusable):
        parse(name, Raw(0, text.encode(), b"", root=golden.ROOT))


@each
@pytest.mark.parametrize("other", list(SAMPLES))
def test_another_tools_report_is_refused(name: str, other: str) -> None:
    if name == other:
        return
    with pytest.raises(Unusable):
        parse(name, Raw(1, golden.recorded(other).stdout, b"", root=golden.ROOT))


@each
def test_an_empty_list_alone_is_no_evidence_of_a_look(name: str) -> None:
    raw = Raw(0, b"[]", b"", root=golden.ROOT)
    try:
        parsed = SHELF[name].passes[0].parse(raw)
    except Unusable:
        return
    assert not parsed.read


@each
def test_broken_characters_in_a_report_are_mended_not_fatal(name: str) -> None:
    raw = golden.recorded(name)
    mark = {"bandit": b"issue_text", "eslint": b"message", "zizmor": b"desc"}.get(name, b"message")
    broken = raw.stdout.replace(b'"' + mark + b'":', b'"\\udcff\xff": 1, "' + mark + b'":', 1)
    assert broken != raw.stdout
    assert parse(name, replace(raw, stdout=broken)) == golden.expected(name)
