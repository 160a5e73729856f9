"""What is wrong with a pipeline is named with its place, all of it at once."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.domain.pipeline import Level, OnFailure, Pipeline
from pilotage.pipeline import load, plan
from pilotage.pipeline.catalogue import Catalogue, Known, Wrong
from pilotage.pipeline.lint import lint
from pilotage.pipeline.spec import json_schema
from pilotage.pipeline.tell import problem_line
from pilotage.tool.schema import Arguments

ROOT = Path(__file__).parents[2]
ARTICLE = ROOT.parent / "shared/seed/000_1ac00eae005894be.txt"
SCHEMA = {
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "depth": {"type": "integer", "minimum": 1},
        "kind": {"enum": ["a", "b"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["path"],
    "additionalProperties": False,
}


def tool(*, open: bool = False) -> Known:
    arguments = Arguments("look", SCHEMA, open=open)
    return Known(True, 60, lambda given: [Wrong(*one) for one in arguments.problems(given)])


TOOLS: Catalogue = {"look": tool(), "loose": tool(open=True)}


def said(text: str) -> list[str]:
    return [problem_line(p, "p.yaml") for p in lint(load.document(text), TOOLS).problems]


def pipeline(text: str) -> Pipeline:
    linted = lint(load.document(text), TOOLS)
    assert linted.pipeline is not None, linted.problems
    return linted.pipeline


HEAD = "name: p\nsteps:\n"
STEP = HEAD + "  - {name: a, tool: look, params: {path: x}}\n"


def appendix_d() -> str:
    """The article's own pipeline, as it stands there."""
    if not ARTICLE.exists():
        pytest.skip("the article (../shared) is not here")
    lines = ARTICLE.read_text("utf-8").split("\n")
    start = lines.index('name: "example-pipeline"')
    end = next(n for n in range(start, len(lines)) if lines[n].startswith("关键词"))
    return "\n".join(lines[start:end])


def test_the_articles_pipeline_lints_unchanged_and_its_tools_are_warnings() -> None:
    linted = lint(load.document(appendix_d()), {})
    assert linted.pipeline is not None
    assert {p.level for p in linted.problems} == {Level.WARNING}
    assert len(linted.problems) == 6
    steps = {step.name: step for step in linted.pipeline.steps}
    assert steps["security-scan"].needs == ("code-quality-check",)
    assert steps["deploy-to-production"].on_failure is OnFailure.MANUAL
    assert steps["code-quality-check"].retry_count == 1
    assert [len(wave) for wave in plan.waves(linted.pipeline)] == [1] * 6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nam: p\nsteps: []", ["p.yaml:1:1: error: unknown key 'nam' (did you mean name?)"]),
        (STEP + "finally: []\n", ["p.yaml:4:1: error: unknown key 'finally'"]),
        (HEAD + "  - {name: a, tool: look, if: x}", ["p.yaml:3:27: error: unknown key 'if'"]),
        (HEAD + "  - {name: a, tool: look, depend_on: []}", ["did you mean depends_on?"]),
        (HEAD + "  - {name: a, tool: look, retry_count: lots}", ["p.yaml:3:40: error: expected"]),
        (HEAD + "  - {name: a, tool: look, on_failure: stop}", ["p.yaml:3:39", "'stop'"]),
        (HEAD + "  - {name: 'a b', tool: look}", ["p.yaml:3:12: error: expected `str` matching"]),
        (HEAD + "  - {tool: look}", ["p.yaml:3:5", "missing required field `name`"]),
        ("- 1", ["p.yaml:1:1: error: a pipeline is a mapping"]),
        ("", ["a pipeline is a mapping"]),
        ("name: p\nname: q\nsteps: []", ["p.yaml:2:1: error: 'name' stands here twice"]),
        ("a: [", ["error: this is not YAML"]),
        ("name: p\nsteps: []", ["p.yaml:2:8"]),
        (STEP + "  - {name: a, tool: look, params: {path: x}}", ["two steps are called 'a'"]),
        (
            HEAD + "  - {name: a, tool: look, params: {path: x}, depends_on: [b]}",
            ["p.yaml:3:59: error: step 'a' depends on 'b', which is no step"],
        ),
        (
            HEAD + "  - {name: a, tool: look, depends_on: [b]}\n"
            "  - {name: b, tool: look, depends_on: [c]}\n"
            "  - {name: c, tool: look, depends_on: [a]}\n",
            ["steps wait for each other: "],
        ),
        (HEAD + "  - {name: a, tool: look, depends_on: [a]}", ["wait for each other: a -> a"]),
        (HEAD + "  - {name: a, tool: lok, params: {}}", ["warning: there is no tool", "look?"]),
        (HEAD + "  - {name: a, tool: look}", ['"path" is a required property']),
        (
            HEAD + "  - {name: a, tool: look, params: {path: x, depth: 0}}",
            ["p.yaml:3:52: error: look: "],
        ),
        (
            HEAD + "  - {name: a, tool: loose, params: {path: x, more: 1}}",
            ["p.yaml:3:52: warning: loose: unknown argument 'more' is ignored"],
        ),
        (
            HEAD + "  - {name: a, tool: loose, params: {path: x, dept: '${{ github.n }}'}}",
            ["p.yaml:3:52: warning: ", "argument 'dept' is ignored; did you mean 'depth'?"],
        ),
        (
            HEAD + "  - {name: a, tool: look, params: {path: x, dept: '${{ github.n }}'}}",
            ["p.yaml:3:51: error: look: unknown argument 'dept'; did you mean 'depth'?"],
        ),
        (
            HEAD + "  - {name: a, tool: look, timeout: 90, params: {path: x}}",
            ["warning: look ends after 60 s whatever this says"],
        ),
        (
            STEP + "inputs: {n: {type: number, default: x}}",
            ["default of input 'n' is not a number"],
        ),
        (STEP + "env: {A: '${{ steps.a.outcome }}'}", ["env cannot read steps"]),
        (STEP + "when: !!python/object:os.system x", ["error"]),
        (STEP + "env: {A: .nan}", ["is not JSON"]),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, expected: list[str]) -> None:
    told = "\n".join(said(text))
    for part in expected:
        assert part in told


def test_one_pass_names_all_that_is_wrong_and_nothing_that_only_follows() -> None:
    told = said("""\
name: p
name: q
inputs: {n: {type: nmber, requird: yes}, ok: {}}
env: {A: .nan}
steps:
  - {name: a, tool: look, parms: {path: x}, retry_count: lots, timeout: -1}
  - {name: b, tol: look, depends_on: [a]}
  - {name: c, tool: look, params: {path: "${{ steps.nn.outcome }}"}, depends_on: [b, zz]}
  - {name: d, tool: look, params: {path: "${{ inputs.n }}", depth: 0, dep: 1}}
  - {name: e, tool: lok, params: {path: "${{ 1 + }}"}}
""")
    assert [line.split(" ")[0].removeprefix("p.yaml:") for line in told] == [
        *("2:1:", "3:20:", "3:27:", "4:10:"),
        *("6:27:", "6:58:", "6:73:", "7:15:"),
        *("8:42:", "8:86:", "9:68:", "9:76:", "10:21:", "10:41:"),
    ], told


def test_a_broken_step_closes_no_circle_and_hides_no_error_of_another() -> None:
    (first, second) = said(
        HEAD + "  - {name: a, tool: look, params: {path: x}, depends_on: [b]}\n"
        "  - {name: b, tool: look, if: x}\n  - {name: c, tool: look, params: {path: 1}}\n"
    )
    assert "unknown key 'if'" in first
    assert second.startswith("p.yaml:5:42: error: look: ")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("steps.b.outcome", "step 'b' need not have ended by then"),
        ("steps.zz.outcome", "there is no step 'zz'"),
        ("steps.a.result", "a step has no 'result'"),
        ("inputs.whom", "there is no input 'whom'"),
        ("job.status", "there is no context 'job'"),
        ("1 +", "is not"),
    ],
)
def test_what_an_expression_reads_must_be_there(expression: str, expected: str) -> None:
    text = STEP + f"  - {{name: b, tool: look, params: {{path: '${{{{ {expression} }}}}'}}}}\n"
    (line,) = said(text + "inputs: {who: {}}")
    assert line.startswith("p.yaml:4:42: error: ")
    assert expected in line


@pytest.mark.parametrize(
    "params",
    [
        "{path: '${{ github.sha }}'}",
        "{path: x, depth: '${{ fromJSON(github.n) }}'}",
        "{path: x, kind: '${{ github.kind }}'}",
        "{path: x, tags: ['${{ github.a }}', b]}",
        "{path: x, tags: '${{ fromJSON(github.tags) }}'}",
    ],
)
def test_a_value_that_an_expression_hides_is_not_judged(params: str) -> None:
    assert said(HEAD + f"  - {{name: a, tool: look, params: {params}}}") == []


def test_an_expression_does_not_hide_what_stands_beside_it() -> None:
    told = said(HEAD + "  - {name: a, tool: look, params: {path: '${{ github.a }}', dep: 1}}")
    assert len(told) == 1
    assert "dep" in told[0]


def test_a_step_follows_the_one_above_unless_it_says_otherwise() -> None:
    steps = "".join(
        f"  - {{name: {name}, tool: look, params: {{path: x}}{more}}}\n"
        for name, more in (("a", ""), ("b", ""), ("c", ", depends_on: []"), ("d", ""),
                           ("e", ", depends_on: [a, d, a]"))
    )  # fmt: skip
    made = pipeline(HEAD + steps)
    assert [step.needs for step in made.steps] == [(), ("a",), (), ("c",), ("a", "d")]
    assert plan.waves(made) == (("a", "c"), ("b", "d"), ("e",))


def test_a_small_file_does_not_become_a_large_document() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    (line,) = said("\n".join(lines))
    assert "aliases within aliases" in line


@pytest.mark.parametrize(
    "text", ["[" * 5_000, "a: &a [*a]", "{a: " * 70 + "1" + "}" * 70, "- " * 3_000 + "x"]
)
def test_a_deep_file_is_refused(text: str) -> None:
    assert any("nested deeper" in line or "not YAML" in line for line in said(text))


def test_a_large_file_is_refused() -> None:
    assert "larger than 1 MiB" in said("#" * (load.BYTES + 1))[0]


def test_an_alias_is_read_as_what_it_stands_for() -> None:
    made = pipeline(
        "name: p\nsteps:\n- {name: a, tool: look, params: &p {path: x}}\n"
        "- {name: b, tool: look, params: *p}\n"
    )
    assert made.steps[1].params == {"path": "x"}


@settings(max_examples=150)
@given(st.text(max_size=300))
def test_any_text_is_a_pipeline_or_has_problems(text: str) -> None:
    linted = lint(load.document(text), TOOLS)
    assert linted.pipeline is not None or linted.errors


@settings(max_examples=150)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["name", "steps", "tool", "params", "inputs", "env", "depends_on", "x"]
                )
                | st.text(max_size=5),
                inner,
                max_size=4,
            )
        ),
    )
)
def test_any_document_is_a_pipeline_or_has_problems_at_a_place(value: object) -> None:
    linted = lint(load.document(yaml.safe_dump(value)), TOOLS)
    assert linted.pipeline is not None or all(p.line > 0 for p in linted.errors)


def test_the_published_schema_is_the_one_that_is_checked() -> None:
    published = ROOT / "docs/schemas/pipeline.schema.json"
    assert json.loads(published.read_text()) == json_schema()


def test_the_published_schema_takes_what_lint_takes() -> None:
    validator = jsonschema_rs.Draft202012Validator(json_schema())
    assert validator.is_valid(yaml.safe_load(appendix_d()))
    assert validator.is_valid(yaml.safe_load(STEP))
    assert not validator.is_valid(yaml.safe_load(STEP + "finally: []"))
    assert not validator.is_valid({"name": "p", "steps": []})


def test_two_pipelines_of_one_digest_are_the_same() -> None:
    first, again = plan.plan(pipeline(STEP), 1), plan.plan(pipeline(STEP), 1)
    assert first == again
    assert plan.plan(pipeline(STEP), 2).digest != first.digest
