"""One pass: what a program is given, what it cannot reach, and what its end means."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pilotage.domain.call import Outcome
from pilotage.domain.finding import ScanType
from pilotage.domain.scan import Coverage, ScannerRun
from pilotage.process.sandbox import unusable
from pilotage.scan.environment import Installed
from pilotage.scan.run_pass import Ground, run_pass
from pilotage.scan.scanner import Control, Install, Parsed, Pass, Raw, Scanner

WHY = unusable()
sandboxed = pytest.mark.skipif(bool(WHY), reason=WHY or "-")


def listed(raw: Raw) -> Parsed:
    return Parsed(read=frozenset(raw.relative(line) for line in raw.stdout.decode().split()))


class Shop:
    """Runs shell text as a scanner over a stage of these files."""

    def __init__(self, tmp_path: Path) -> None:
        self.stage = tmp_path / "project"
        self.stage.mkdir()

    async def run(
        self,
        text: str,
        files: Mapping[str, str] | None = None,
        *,
        parse: Callable[[Raw], Parsed] = listed,
        safe: bool = False,
        command: tuple[str, ...] = (),
        **extra: Any,
    ) -> ScannerRun:
        names = tuple(sorted(files or {"a.py": ""}))
        for name in names:
            (self.stage / name).parent.mkdir(parents=True, exist_ok=True)
            (self.stage / name).write_text((files or {}).get(name, ""))
        each = Pass(
            "p",
            ScanType.CODE,
            ("*.py",),
            parse,
            Control({}, "r"),
            extra.pop("coverage", Coverage.LISTED),
            command or ("{program}", "-c", text, "sh", "{stage}", "{report}", "{config}"),
            **extra,
        )
        scanner = Scanner("s", "", "", (each,), Install("pip"))
        shell = Installed(("/bin/sh",), "1", "", "")
        return await run_pass(scanner, each, shell, Ground(self.stage, names, sandboxed=safe))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


async def test_what_the_program_does_not_list_is_unread(shop: Shop) -> None:
    run = await shop.run("echo $1/a.py; echo $1/other", {"a.py": "", "b/c.py": "", "d.txt": ""})
    assert run.outcome is Outcome.SUCCEEDED
    assert not run.complete
    assert [row.path for row in run.unread] == ["b/c.py"]
    assert (run.read, run.expected) == (1, 2)


async def test_a_count_of_none_is_never_complete(shop: Shop) -> None:
    run = await shop.run(":", parse=lambda raw: Parsed(read=0), coverage=Coverage.COUNTED)
    assert not run.complete
    assert [row.path for row in run.unread] == ["a.py"]
    assert run.unread[0].why.endswith(" says that it read no file")


@pytest.mark.parametrize("read", [None, 3])
async def test_evidence_of_the_wrong_kind_is_a_failure(shop: Shop, read: int | None) -> None:
    run = await shop.run(":", parse=lambda raw: Parsed(read=read))
    assert run.outcome is Outcome.FAILED
    assert "does not list" in run.why


async def test_a_parser_that_breaks_is_a_failure_and_quotes_nothing(shop: Shop) -> None:
    def broken(raw: Raw) -> Parsed:
        raise KeyError("the secret is s3cret")

    run = await shop.run(":", parse=broken)
    assert run.outcome is Outcome.FAILED
    assert "KeyError" in run.why
    assert "s3cret" not in run.why


async def test_an_exit_that_is_no_end_tells_its_last_words(shop: Shop) -> None:
    run = await shop.run("echo one >&2; printf 'tw\\033[31mo\\n' >&2; exit 9")
    assert run.outcome is Outcome.FAILED
    assert run.exit == 9
    assert run.why == r"ended with 9, which is no end of its work: one / tw\x1b[31mo"


async def test_a_private_pass_is_never_quoted(shop: Shop) -> None:
    run = await shop.run("echo s3cret >&2; exit 9", private=True)
    assert "s3cret" not in run.why
    assert run.outcome is Outcome.FAILED


async def test_output_that_was_cut_is_a_failure(shop: Shop) -> None:
    run = await shop.run("head -c 70000000 /dev/zero")
    assert run.outcome is Outcome.FAILED
    assert "more than can be kept" in run.why


async def test_memory_is_limited(shop: Shop) -> None:
    text = "exec python3 -c 'import time; x = bytearray(400 << 20); time.sleep(60)'"
    run = await shop.run(text, memory=100 << 20)
    assert run.outcome is Outcome.FAILED
    assert "memory" in run.why


@pytest.mark.parametrize(
    "text", ["ln -s /etc/passwd $2", "mkdir $2", "mkfifo $2", "truncate -s 70000000 $2", ":"]
)
async def test_a_report_that_is_no_plain_file_is_a_failure(shop: Shop, text: str) -> None:
    run = await shop.run(text, report="r.json", parse=lambda raw: Parsed(read=frozenset({"a.py"})))
    assert run.outcome is Outcome.FAILED, "a report of that kind was taken"


async def test_words_stand_for_folders_also_in_configuration(shop: Shop) -> None:
    run = await shop.run(
        "cat $3/own.cfg >&2; exit 9", config={"own.cfg": "stage={stage} braces={x}"}
    )
    assert f"stage={shop.stage} braces={{x}}" in run.why


async def test_many_files_are_given_in_several_command_lines(shop: Shop) -> None:
    long = "d" * 200
    files = {f"{long}/{long}/{number:05}.py": "" for number in range(3000)}
    run = await shop.run(
        "", files, command=("{program}", "-c", 'printf "%s\\n" "$@"', "sh", "{files}")
    )
    assert run.complete, run.why
    assert run.read == 3000


async def test_a_program_gets_no_environment_of_ours(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCP_API_KEY", "s3cret")
    kept: list[bytes] = []

    def parse(raw: Raw) -> Parsed:
        kept.append(raw.stdout)
        return Parsed(read=frozenset({"a.py"}))

    await shop.run("env", parse=parse, environment={"OWN": "{stage}"})
    assert b"s3cret" not in kept[0]
    assert f"OWN={shop.stage}".encode() in kept[0]


@sandboxed
async def test_the_sandbox_has_no_network_and_a_stage_that_cannot_be_written(shop: Shop) -> None:
    server = socket.create_server(("127.0.0.1", 0))
    server.setblocking(False)
    probe = {
        "port": server.getsockname()[1],
        "home": str(Path.home()),
        "stage": str(shop.stage),
    }
    text = (
        "import json, os, socket, sys\n"
        f"p = json.loads('''{json.dumps(probe)}''')\n"
        "try: socket.create_connection(('127.0.0.1', p['port']), 2); print('network')\n"
        "except OSError: pass\n"
        "try: open(p['stage'] + '/a.py', 'w'); print('written')\n"
        "except OSError: pass\n"
        "if os.path.exists(p['home'] + '/.cache/pilotage'): print('home')\n"
        "print('a.py')\n"
    )
    said: list[bytes] = []

    def parse(raw: Raw) -> Parsed:
        said.append(raw.stdout + raw.stderr)
        return Parsed(read=frozenset({"a.py"}))

    run = await shop.run(
        "", command=("{program}", "-c", "exec /usr/bin/env python3 -c \"$1\"", "sh", text),
        parse=parse, safe=True,
    )  # fmt: skip
    if run.outcome is Outcome.FAILED and "python3" in run.why:
        pytest.skip("no system python3 to look from")
    assert run.complete, run.why
    assert said == [b"a.py\n"]
    with server, pytest.raises(BlockingIOError):
        server.accept()  # nobody has called


async def test_a_pass_leaves_nothing_behind(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    seen: list[list[str]] = []

    def parse(raw: Raw) -> Parsed:
        seen.append(os.listdir(place))
        return listed(raw)

    run = await shop.run("echo x > $2; echo $1/a.py", report="", parse=parse)
    assert run.complete
    assert [len(names) for names in seen] == [1], "it works in one folder of its own"
    assert os.listdir(place) == []
