"""JUnit XML that hostile code may have written: counted by its cases, or refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pilotage.suite.junit import Unreadable, load, parse
from pilotage.suite.results import Failure

PYTEST = b"""<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="0" failures="9" tests="99">
<testcase classname="tests.test_app" name="test_good" time="0.1" />
<testcase classname="tests.test_app" name="test_bad" file="tests/test_app.py" line="12">
<failure message="assert 1 == 2">def test_bad():\n&gt; assert 1 == 2</failure></testcase>
<testcase classname="tests.test_app" name="test_both"><failure message="first"/>
<error message="at teardown">trace</error></testcase>
<testcase classname="tests.test_app" name="test_skip"><skipped message="later"/></testcase>
</testsuite></testsuites>"""


def test_cases_are_counted_and_the_sums_of_the_file_are_not_believed() -> None:
    results = parse(PYTEST)
    assert (results.tests, results.passed, results.failed) == (4, 1, 1)
    assert (results.errors, results.skipped) == (1, 1)
    bad, both = results.failures
    assert bad == Failure(
        "tests.test_app::test_bad", "failed",
        "assert 1 == 2\ndef test_bad():\n> assert 1 == 2", "tests/test_app.py", 12,
    )  # fmt: skip
    assert (both.kind, both.message) == ("error", "at teardown\ntrace")


def test_suites_inside_suites_are_counted() -> None:
    inner = "<testsuite name='b'><testcase name='x'/></testsuite>"
    assert (
        parse(f"<testsuites><testsuite name='a'>{inner}</testsuite></testsuites>".encode()).tests
        == 1
    )


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{}", b"<testsuite>", b"<html/>", b"\xff\xfe", b"<testsuite/><testsuite/>",
        b'<!DOCTYPE a [<!ENTITY b "cccc">]><testsuite/>',
        b'<!DOCTYPE a SYSTEM "http://127.0.0.1/x.dtd"><testsuite/>',
        b"<testsuite>" + b"<a>" * 100 + b"</a>" * 100 + b"</testsuite>",
    ],
)  # fmt: skip
def test_what_is_no_junit_xml_is_refused(data: bytes) -> None:
    with pytest.raises(Unreadable):
        parse(data)


def test_messages_and_their_number_are_bounded() -> None:
    case = f"<testcase name='{'n' * 2000}'><failure>{'m' * 5000}</failure></testcase>"
    results = parse(f"<testsuite>{case * 300}</testsuite>".encode())
    assert (results.failed, len(results.failures)) == (300, 100)
    assert len(results.failures[0].message) == 1000
    assert len(results.failures[0].name) == 300


def test_a_link_a_pipe_a_folder_and_nothing_are_refused_without_waiting(tmp_path: Path) -> None:
    (tmp_path / "real.xml").write_bytes(PYTEST)
    (tmp_path / "link.xml").symlink_to(tmp_path / "real.xml")
    os.mkfifo(tmp_path / "pipe.xml")
    (tmp_path / "folder.xml").mkdir()
    assert load(tmp_path / "real.xml").tests == 4
    for name in ("link", "pipe", "folder", "none"):
        with pytest.raises(Unreadable):
            load(tmp_path / f"{name}.xml")
