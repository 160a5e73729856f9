"""GitHub Actions, read back by the runner's own rules for its files and commands."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.ci.job import Job
from pilotage.ci.platform import Ability, Append, Say
from pilotage.ci.publish import Results, publish
from pilotage.domain.ci import Annotation
from pilotage.domain.errors import BadInput, Unavailable
from pilotage.domain.finding import Finding, Location, ScanType, Severity
from pilotage.platforms.github_actions import GITHUB_ACTIONS, SUMMARY_LIMIT, heredoc


class Runner:
    """A job with its files, and what the runner would read from them and from the log."""

    def __init__(self, folder: Path) -> None:
        self.env = {"GITHUB_ACTIONS": "true"}
        for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STEP_SUMMARY"):
            (folder / name).touch()
            self.env[name] = str(folder / name)
        self.out = io.StringIO()
        self.job = Job(GITHUB_ACTIONS, self.env, self.out)

    def file(self, name: str) -> str:
        return Path(self.env[name]).read_text()

    def pairs(self, name: str) -> dict[str, str]:
        return pairs(self.file(name))

    def commands(self) -> list[tuple[str, dict[str, str], str]]:
        return commands(self.out.getvalue())


def pairs(text: str) -> dict[str, str]:
    """By actions/runner FileCommandManager.cs: `=` or `<<`, whichever comes first in the line."""
    found, lines = {}, text.split("\n")
    assert lines.pop() == ""
    while lines:
        line = lines.pop(0)
        equals, heredoc_at = line.find("="), line.find("<<")
        assert heredoc_at > 0
        assert equals < 0 or heredoc_at < equals
        name, delimiter = line[:heredoc_at], line[heredoc_at + 2 :]
        end = lines.index(delimiter)
        found[name] = "\n".join(lines[:end])
        del lines[: end + 1]
    return found


def commands(log: str) -> list[tuple[str, dict[str, str], str]]:
    """By actions/runner ActionCommand.cs, with stop-commands as ActionCommandManager.cs has it."""
    found, stopped = [], ""
    for line in re.split(r"\r\n|\r|\n", log):
        matched = re.match(r"\s*::([^: ]+)(?: ([^:]*(?:(?!::):[^:]*)*))?::(.*)", line)
        if stopped:
            stopped = "" if line.strip() == f"::{stopped}::" else stopped
        elif matched and matched[1] == "stop-commands":
            stopped = matched[3]
        elif matched:
            words = [word.partition("=") for word in (matched[2] or "").split(",") if word]
            found.append((matched[1], {k: plain(v) for k, _, v in words}, plain(matched[3])))
        else:
            assert "##[" not in line
    assert not stopped
    return found


def plain(text: str) -> str:
    for escaped, char in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(escaped, char)
    return text


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


def finding(message: str = "m", severity: Severity = Severity.HIGH, **rest: object) -> Finding:
    place = Location(str(rest.pop("path", "src/app.py")), 3, 1, 3, 9)
    return Finding("bandit", "B1", ScanType.CODE, severity, message, place, **rest)  # type: ignore[arg-type]


async def test_the_articles_context_is_there_and_more() -> None:
    env = {
        "GITHUB_WORKFLOW": "w", "GITHUB_RUN_ID": "7", "GITHUB_REPOSITORY": "o/r",
        "GITHUB_REF": "refs/heads/main", "GITHUB_SHA": "a" * 40, "GITHUB_EVENT_NAME": "push",
        "GITHUB_ACTOR": "me", "GITHUB_WORKSPACE": "/w", "GITHUB_REF_NAME": "main",
        "GITHUB_RUN_ATTEMPT": "3", "GITHUB_OUTPUT": "/secret/path", "GITHUB_TOKEN": "ghp_abcdef",
        "STAGE": "test", "DB_PASSWORD": "hunter22", "MCP_API_KEY": "plt_0123",
    }  # fmt: skip
    context = await GITHUB_ACTIONS.context(env, Path())
    assert dict(context.native) == {
        "workflow": "w", "run_id": "7", "repository": "o/r", "ref": "refs/heads/main",
        "sha": "a" * 40, "event_name": "push", "actor": "me", "workspace": "/w",
    }  # fmt: skip
    assert context.github["ref_name"] == "main"
    assert "output" not in context.github
    assert "token" not in context.github
    assert context.attempt == 3
    assert context.env == {"STAGE": "test", "DB_PASSWORD": "hunter22"}
    assert set(context.secrets) == {"ghp_abcdef", "hunter22", "plt_0123"}
    assert context.notes == ()
    assert "hunter22" not in repr(context)


async def test_what_the_runner_does_not_say_is_said() -> None:
    context = await GITHUB_ACTIONS.context({"GITHUB_SHA": "a"}, Path())
    assert "repository" in context.notes[0]
    assert "sha" not in context.notes[0]


@given(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
)
def test_every_value_arrives_as_it_was_given(first: str, second: str) -> None:
    assert pairs(heredoc("a", first) + heredoc("b-1", second)) == {"a": first, "b-1": second}


def test_a_value_that_looks_like_the_end_of_another_does_not_end_it(runner: Runner) -> None:
    value = "x\nghadelimiter_\nEOF\nname<<EOF\ny\nEOF\nadmin=true"
    runner.job.act(GITHUB_ACTIONS.set_output(runner.env, "report", value))
    assert runner.pairs("GITHUB_OUTPUT") == {"report": value}


@pytest.mark.parametrize("name", ["", "a b", "a=b", "a\nb", "a<<b", "1a", "ä", "a" * 300])
def test_a_name_that_would_not_arrive_is_refused(runner: Runner, name: str) -> None:
    for set_it in (GITHUB_ACTIONS.set_output, GITHUB_ACTIONS.set_env):
        with pytest.raises(BadInput):
            set_it(runner.env, name, "x")


@pytest.mark.parametrize(
    "name", ["NODE_OPTIONS", "node_options", "PATH", "LD_PRELOAD", "BASH_ENV", "GITHUB_TOKEN"]
)
def test_a_variable_that_would_change_how_later_steps_load_code_is_refused(
    runner: Runner, name: str
) -> None:
    with pytest.raises(BadInput):
        GITHUB_ACTIONS.set_env(runner.env, name, "x")


@pytest.mark.parametrize("value", ["a\0b", "x" * 1_000_001])
def test_a_value_that_would_not_arrive_is_refused(runner: Runner, value: str) -> None:
    with pytest.raises(BadInput):
        GITHUB_ACTIONS.set_output(runner.env, "a", value)


def test_a_file_that_the_runner_did_not_make_is_never_made(tmp_path: Path) -> None:
    env = {"GITHUB_OUTPUT": str(tmp_path / "none")}
    job = Job(GITHUB_ACTIONS, env, io.StringIO())
    with pytest.raises(Unavailable):
        job.act(GITHUB_ACTIONS.set_output(env, "a", "b"))
    assert not (tmp_path / "none").exists()
    with pytest.raises(Unavailable):
        GITHUB_ACTIONS.set_output({}, "a", "b")


def test_a_secret_is_masked_by_line_and_by_leaf(runner: Runner) -> None:
    key = "-----BEGIN KEY-----\nabcd1234\n-----END KEY-----"
    secret = json.dumps({"user": "root", "key": key, "port": 54321, "on": True}, indent=1)
    runner.job.mask(secret)
    masked = [data for name, _, data in runner.commands() if name == "add-mask"]
    assert {"root", "abcd1234", "54321", "-----BEGIN KEY-----"} <= set(masked)
    assert json.dumps(secret)[1:-1] in masked
    assert not {"{", "}", "true"} & set(masked)
    assert all("\n" not in line for line in masked)


def test_a_plain_secret_is_masked_with_its_percent_signs(runner: Runner) -> None:
    runner.job.mask("50%0Aoff::x")
    assert runner.commands() == [("add-mask", {}, "50%0Aoff::x")]


@pytest.mark.parametrize(
    "hostile",
    [
        "::set-output name=x::y", "x\n::add-mask::e", "x\r::error::y", "##[error]boo",
        "a::b,c=d%0A::error::z", "\x1b[31m::error::red", "::endgroup::", "title=x,file=y::z",
    ],
)  # fmt: skip
def test_an_annotation_is_one_command_whatever_it_quotes(runner: Runner, hostile: str) -> None:
    remark = Annotation("error", hostile, hostile, hostile, 3, 3, 1, 9)
    runner.job.act(GITHUB_ACTIONS.annotate(remark))
    ((name, properties, message),) = runner.commands()
    assert name == "error"
    assert set(properties) == {"title", "file", "line", "col", "endColumn"}
    assert properties["file"] == hostile
    assert properties["line"] == "3"
    assert "\x1b" not in message


def test_columns_are_told_only_on_one_line_and_an_end_only_with_a_start(runner: Runner) -> None:
    act = runner.job.act
    act(GITHUB_ACTIONS.annotate(Annotation("warning", "m", path="f", line=1, end_line=4, column=2)))
    act(GITHUB_ACTIONS.annotate(Annotation("notice", "m", path="f", end_line=4, column=2)))
    act(GITHUB_ACTIONS.annotate(Annotation("notice", "m")))
    assert [properties for _, properties, _ in runner.commands()] == [
        {"file": "f", "line": "1", "endLine": "4"},
        {"file": "f"},
        {},
    ]


def test_a_long_message_is_bounded(runner: Runner) -> None:
    runner.job.act(GITHUB_ACTIONS.annotate(Annotation("error", "%" * 100_000)))
    assert len(runner.out.getvalue()) < 20_000


def test_untrusted_text_is_fenced_and_quiet_as_well(runner: Runner) -> None:
    runner.job.show("::error::x\n##[error]y\nplain")
    assert runner.commands() == []
    lines = runner.out.getvalue().splitlines()
    assert lines[0].startswith("::stop-commands::")
    assert lines[1:4] == [": :error::x", "## [error]y", "plain"]
    assert lines[4] == f"::{lines[0].removeprefix('::stop-commands::')}::"


def test_a_group_folds_what_is_in_it_and_none_is_nested(runner: Runner) -> None:
    with runner.job.group("scan\n::error::x"), runner.job.group("inner"):
        pass
    assert runner.commands() == [("group", {}, "scan ::error::x"), ("endgroup", {}, "")]
    assert "inner" in runner.out.getvalue()


def test_the_worst_findings_fill_the_budget_and_the_rest_is_counted(runner: Runner) -> None:
    findings = [finding(f"low {n}", Severity.LOW) for n in range(12)]
    findings += [finding(f"high {n}", Severity.HIGH) for n in range(12)]
    findings += [finding("critical", Severity.CRITICAL)]
    done = publish(runner.job, Results(findings=findings, summary="# Run\n"))
    told = runner.commands()
    assert [name for name, _, _ in told] == ["error"] * 10 + ["notice"] * 10
    assert told[0][2] == "critical"
    assert "5 findings" in done.notes[0]
    assert "3 of level error" in done.notes[0]
    assert "5 findings" in runner.file("GITHUB_STEP_SUMMARY").replace("\\", "")
    assert done.problems == ()


def test_findings_of_an_answer_land_where_they_lie_in_the_workspace(runner: Runner) -> None:
    told = {
        "scanner": "bandit", "rule": "B1", "type": "code", "severity": "medium",
        "message": "m", "location": {"path": "app.py", "line": 4},
    }  # fmt: skip
    publish(runner.job, Results(findings=[told, finding()], under="service/api/"))
    assert [(n, p["file"]) for n, p, _ in runner.commands()] == [
        ("error", "service/api/src/app.py"),
        ("warning", "service/api/app.py"),
    ]


def test_a_finding_in_history_has_no_line_in_this_checkout(runner: Runner) -> None:
    place = Location("old.py", 3, commit="abc123")
    leaked = Finding("gitleaks", "key", ScanType.SECRET, Severity.HIGH, "a key", place)
    publish(runner.job, Results(findings=[leaked]))
    ((_, properties, message),) = runner.commands()
    assert set(properties) == {"title"}
    assert "abc123" in message
    assert "old.py" in message


def test_outputs_of_every_type_are_set_and_a_bad_one_does_not_take_the_rest_along(
    runner: Runner,
) -> None:
    results = Results(
        variables={"verdict": "FAIL", "bad name": "x", "counts": {"high": 2}, "ok": True, "n": 3},
        environment={"IMAGE": "a:1", "NODE_OPTIONS": "--require=/tmp/x.js"},
        artifacts=[{"name": "report", "file_path": "/w/report.html"}],
        summary="# Run\n",
    )
    done = publish(runner.job, results)
    assert runner.pairs("GITHUB_OUTPUT") == {
        "verdict": "FAIL", "counts": '{"high":2}', "ok": "true", "n": "3"
    }  # fmt: skip
    assert runner.pairs("GITHUB_ENV") == {"IMAGE": "a:1"}
    assert len(done.problems) == 2
    assert "bad name" in done.problems[0]
    assert "NODE_OPTIONS" in done.problems[1]
    assert "/w/report.html" in done.notes[0]
    assert "Not set" in runner.file("GITHUB_STEP_SUMMARY")


def test_a_summary_that_is_too_long_is_cut_by_us_and_says_so(runner: Runner) -> None:
    row = "| ä | " + "x" * 90 + " |\n"
    runner.job.act(GITHUB_ACTIONS.summarise(runner.env, "```\n" + row * 20_000))
    runner.job.act(GITHUB_ACTIONS.summarise(runner.env, "more\n"))
    data = Path(runner.env["GITHUB_STEP_SUMMARY"]).read_bytes()
    assert SUMMARY_LIMIT * 0.99 < len(data) <= SUMMARY_LIMIT
    text = data.decode()
    assert "Cut here" in text
    assert text.count("```") == 2
    assert text.split("```\n")[1].endswith("|\n")


def test_what_a_step_cannot_do_is_not_among_its_abilities() -> None:
    assert Ability.ARTIFACT not in GITHUB_ACTIONS.abilities
    assert {type(act) for act in GITHUB_ACTIONS.set_output({"GITHUB_OUTPUT": "f"}, "a", "b")} == {
        Append
    }
    assert {type(act) for act in GITHUB_ACTIONS.mask("secret")} == {Say}
