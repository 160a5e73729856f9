"""A secret anywhere in a history, found by the real gitleaks through the whole engine, and told at
a place that a reader of any report understands."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from pilotage.domain.finding import Finding
from pilotage.domain.scan import Scan
from pilotage.domain.verdict import Ruling
from pilotage.formats.json_report import JSON
from pilotage.formats.sarif import SARIF
from pilotage.scan.wording import place
from scanners import passes
from scanners.passes import KEY, KEY_LINE
from scanners.test_hostile_secrets_and_infrastructure import Files, found, git, repository

PLAIN = "a line of plain text\n" * 1000
WIDE = ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]


async def leaks(source: Path) -> list[Finding]:
    return found(await passes.scan(source, "gitleaks"), "gitleaks", "history")


def commit(source: Path, message: str, *words: str) -> str:
    """One more commit, whose message it is."""
    git(source, "commit", "-q", "--allow-empty", "-m", message, *words)
    return git(source, "rev-parse", "HEAD").strip()


def written(source: Path, kind: str, content: bytes) -> str:
    """An object of these very bytes."""
    done = subprocess.run(
        ["git", "-C", str(source), "hash-object", "-t", kind, "-w", "--literally", "--stdin"],
        input=content, check=True, capture_output=True,
    )  # fmt: skip
    return done.stdout.decode().strip()


# the words of commits


async def test_a_secret_in_a_message_is_told_at_its_commit_and_line(tmp_path: Path) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    own = commit(source, f"Rotate\n\nthe old one was\n{KEY_LINE}")
    scan = await passes.scan(source, "gitleaks")
    assert scan.verdict.ruling is Ruling.FAIL
    assert not scan.unread
    [leak] = found(scan, "gitleaks", "history")
    assert leak.rule == "aws-access-token"
    assert place(leak.location) == (
        f".git/message of the commit:4 (only in history, commit {own[:10]})"
    )
    assert told_in_reports(scan, own, "It stands in the message of the commit.")


def told_in_reports(scan: Scan, commit: str, words: str) -> bool:
    """Whether the reports that programs read name both, and never the key."""
    made = [JSON.render(scan), SARIF.render(scan)]
    assert not any(KEY in str(report) for report in made)
    [result] = [r for run in json.loads(made[1])["runs"] for r in run.get("results", ())]
    text = result["message"]["text"]
    [finding] = json.loads(made[0])["aggregated_findings"]
    said = (text, finding["message"] + finding["location"]["commit"])
    return all(commit in each and words in each for each in said)


async def test_a_message_that_is_said_often_is_one_finding_at_the_oldest(tmp_path: Path) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    oldest = commit(source, KEY_LINE)
    for _ in range(3):
        commit(source, KEY_LINE)
    assert [leak.location.commit for leak in await leaks(source)] == [oldest]


@pytest.mark.parametrize("who", ["author", "committer"])
async def test_a_secret_as_a_persons_name_is_found(tmp_path: Path, who: str) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    head = git(source, "cat-file", "commit", "HEAD")
    lines = [
        f"{who} {KEY} <a@b.c> 0 +0000" if line.startswith(who) else line
        for line in head.splitlines()
    ]
    own = written(source, "commit", "\n".join(lines).encode())
    git(source, "update-ref", "refs/heads/side", own)
    [leak] = await leaks(source)
    assert (leak.location.path, leak.location.commit) == (
        ".git/author or committer of the commit", own
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        f"x-note {KEY_LINE}",
        f"mergetag object 1\n type commit\n {KEY}",
        f"encoding {KEY}",
        f"tag {KEY}",
    ],
)
async def test_a_secret_in_another_line_of_a_commits_head_is_found(
    tmp_path: Path, line: str
) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    head, _, message = git(source, "cat-file", "commit", "HEAD").partition("\n\n")
    own = written(source, "commit", f"{head}\n{line.rstrip()}\n\n{message}".encode())
    git(source, "update-ref", "refs/heads/side", own)
    [leak] = await leaks(source)
    assert (leak.location.path, leak.location.commit) == (".git/header of the commit", own)


async def test_a_message_in_another_encoding_is_read(tmp_path: Path) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    head, _, _ = git(source, "cat-file", "commit", "HEAD").partition("\n\n")
    said = head.encode() + b"\n\n" + b"plain\n" * 9 + KEY_LINE.encode("utf-16-le")
    git(source, "update-ref", "refs/heads/side", written(source, "commit", said))
    assert [leak.location.line for leak in await leaks(source)] == [10]


async def test_a_secret_in_a_note_is_found(tmp_path: Path) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    git(source, "notes", "add", "-m", KEY_LINE)
    assert [leak.rule for leak in await leaks(source)] == ["aws-access-token"]


# the words of tags


@pytest.mark.parametrize("of", ["HEAD", "HEAD^{tree}", "HEAD:a", "inner"])
async def test_a_secret_in_the_message_of_a_tag_is_found(tmp_path: Path, of: str) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    git(source, "tag", "-a", "-m", "inner", "inner", "HEAD")
    git(source, "tag", "-a", "-m", f"one\n\n{KEY_LINE}", "rel/1.0", of)
    [leak] = await leaks(source)
    commit = git(source, "rev-parse", "HEAD" if of == "HEAD" else "rel/1.0").strip()
    at = leak.location
    assert (at.path, at.line, at.commit) == (".git/message of the tag rel/1.0", 3, commit)
    assert "message of the tag rel/1.0" in leak.message


async def test_a_tag_that_another_tag_has_replaced_is_read_where_that_one_names_it(
    tmp_path: Path,
) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    for message in (KEY_LINE, "harmless"):
        git(
            source, "tag", "-f", "-a", "-m", message, "v1", *(["v1"] if message != KEY_LINE else [])
        )
    assert [leak.location.path for leak in await leaks(source)] == [".git/message of the tag v1"]


async def test_a_tag_with_a_name_that_is_no_path_is_read(tmp_path: Path) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    head = git(source, "rev-parse", "HEAD").strip()
    for number, name in enumerate(("../../x", "", ".git/config", "a//b", "\x1b[31m", "n" * 9000)):
        text = f"object {head}\ntype commit\ntag {name}\ntagger a <b> 0 +0000\n\n{number}{KEY_LINE}"
        git(source, "update-ref", f"refs/tags/t{number}", written(source, "tag", text.encode()))
    scan = await passes.scan(source, "gitleaks")
    assert len(found(scan, "gitleaks", "history")) == 6
    assert not scan.unread


async def test_a_secret_as_the_name_of_a_tag_is_found_and_not_repeated(tmp_path: Path) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    git(source, "tag", "-a", "-m", "x", KEY)
    [leak] = await leaks(source)
    assert leak.location.path == ".git/header of a tag"
    assert KEY not in str(leak)


# files


@pytest.mark.parametrize("encoding", WIDE)
async def test_a_secret_in_another_encoding_amid_a_long_file_of_the_past_is_found(
    tmp_path: Path, encoding: str
) -> None:
    content = PLAIN.encode() + KEY_LINE.encode(encoding) + PLAIN.encode()
    source = repository(tmp_path / "r", {"settings.ini": content}, {"a": "1"})
    first = git(source, "rev-list", "--max-parents=0", "HEAD").strip()
    [leak] = await leaks(source)
    at = leak.location
    assert (at.path, at.line, at.commit) == ("settings.ini", 1001, first)


async def test_what_stands_in_plain_bytes_beside_it_is_not_found_twice(tmp_path: Path) -> None:
    other = KEY_LINE.replace("Q3EG", "Q4EG")
    content = PLAIN + other + PLAIN
    source = repository(
        tmp_path / "r", {"settings.ini": content.encode() + KEY_LINE.encode("utf-16-le")}, {"a": ""}
    )
    assert sorted(leak.location.line or 0 for leak in await leaks(source)) == [1001, 2002]


MIXED: dict[str, bytes] = {
    "a mark, and then no UTF-16": b"\xff\xfe" + KEY_LINE.encode(),
    "plain bytes after UTF-16": PLAIN.encode("utf-16") + KEY_LINE.encode(),
    "the other byte order": PLAIN.encode("utf-16-le") + b"x" + KEY_LINE.encode("utf-16-le"),
    **{f"{name} amid plain text": PLAIN.encode() + KEY_LINE.encode(name) for name in WIDE},
}


@pytest.mark.parametrize("content", MIXED.values(), ids=MIXED)
async def test_no_mix_of_encodings_hides_a_secret_of_today_or_of_the_past(
    tmp_path: Path, content: bytes
) -> None:
    files: Files = {"settings.ini": content}
    source = repository(tmp_path / "r", files)
    for name, which in (("gitleaks", "tree"), ("gitleaks", "history"), ("trivy", "secret")):
        run = await passes.look(name, which, source)
        assert {leak.location.path for leak in run.findings} == {"settings.ini"}, name


@pytest.mark.parametrize("content", [b"", b"\0", b"\0" + KEY_LINE.encode()], ids=len)
async def test_a_history_without_a_line_of_text_is_read_all_the_same(
    tmp_path: Path, content: bytes
) -> None:
    source = repository(tmp_path / "r", {"a": content} if content else {})
    scan = await passes.scan(source, "gitleaks")
    assert [leak.location.path for leak in found(scan, "gitleaks", "history")] == (
        ["a"] if KEY.encode() in content else []
    )


async def test_a_secret_among_the_strings_of_a_program_of_the_past_is_found(
    tmp_path: Path,
) -> None:
    content = b"\x7fELF\0\1\0name\0" + KEY.encode() + b"\0next\0"
    source = repository(tmp_path / "r", {"program": content}, {"a": "1"})
    assert [leak.location.path for leak in await leaks(source)] == ["program"]


# what is too much


@pytest.mark.parametrize(("limit", "value"), [("LARGEST", 300), ("MOST", 1), ("MOST_BYTES", 300)])
async def test_words_that_are_too_much_leave_the_scan_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    source = repository(tmp_path / "r", {"a": "1"})
    commit(source, "long words " * 100)
    scan = await passes.scan(source, "gitleaks")
    assert not scan.unread
    monkeypatch.setattr(f"pilotage.scan.history_words.{limit}", value)
    scan = await passes.scan(source, "gitleaks")
    [row] = scan.unread
    assert (row.path, "words of 1 commit" in row.why) == (".git", True)
    assert scan.verdict.ruling is Ruling.INCOMPLETE
