"""Our evaluator against GitHub's own (npm @actions/expressions), on random expressions."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.config import cache_folder
from pilotage.domain.errors import BadInput
from pilotage.pipeline import expression, values

PACKAGE = "@actions/expressions@0.3.61"
CONTEXTS: dict[str, Any] = {
    "github": {
        "Sha": "aBc", "n": 3, "neg": -1.5, "yes": True, "no": False, "nil": None, "empty": "",
        "list": [1, "two", None, [1], {"k": "v"}, "TRUE"], "event": {"a-b": {"c": [10, 20]}},
        "zero": 0, "text": "3", "hex": "0x1F", "space": " 12 ",
        "dotless": "\u0131I\u00dfé\U0001f600",
    },
    "env": {"A": "1", "b": "x,y"},
    "inputs": {"who": "Bob", "flag": "true"},
    "steps": {"one": {"outcome": "succeeded", "outputs": {"list": [], "n": 1e21}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def oracle() -> Path:
    """The folder in which GitHub's evaluator is installed, once a machine."""
    npm = shutil.which("npm")
    if npm is None:
        if os.environ.get("CI"):
            pytest.fail("CI must have npm: without it the evaluator is not compared with GitHub's")
        pytest.skip("npm is not installed")
    folder = cache_folder(os.environ) / "test-oracles" / PACKAGE.replace("/", "-")
    if not (folder / "node_modules").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        words = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
        subprocess.run([*words, "--prefix", str(folder), PACKAGE], check=True, timeout=600)
    shutil.copy(Path(__file__).with_name("oracle.mjs"), folder / "oracle.mjs")
    return folder


def theirs(folder: Path, texts: list[str]) -> list[dict[str, Any]]:
    asked = json.dumps([{"text": text, "contexts": CONTEXTS} for text in texts])
    done = subprocess.run(
        ["node", "oracle.mjs"], cwd=folder, input=asked, capture_output=True, text=True, check=True,
        timeout=300,
    )  # fmt: skip
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def ours(text: str) -> dict[str, Any]:
    try:
        value = expression.evaluate(expression.parse(text), CONTEXTS)
    except BadInput as error:
        return {"error": error.what}
    return {"value": json.loads(values.to_json(value)), "text": values.text(value)}


def same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Equal answers, or both an error. A whole number is the same as 1 or 1.0."""
    if "error" in left or "error" in right:
        return "error" in left and "error" in right
    return _same(left["value"], right["value"]) and left["text"] == right["text"]


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool) or left is None or right is None:
        return left is right
    if isinstance(left, (int, float)) and isinstance(right, (int, float)):
        return math.isclose(left, right, rel_tol=1e-15, abs_tol=0)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(_same(left[k], right[k]) for k in left)
    return bool(left == right)


# GitHub's lexer mends only the first doubled quote of a string; its runner mends all, and so do we.
strings = st.text("aAbB1 0.xX-e,{}\u0131\u00df\u00e9", max_size=6).map(lambda s: f"'{s}'")
numbers = st.one_of(
    st.integers(-(10**6), 10**6).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda f: f"{f!r}"),
    st.sampled_from(["0x1F", "-0", ".5", "1.", "1e3", "1E-7", "0b11", "0o17", "+3", "1e21"]),
)
leaves = st.one_of(
    strings, numbers,
    st.sampled_from(
        ["true", "false", "null", "NaN", "Infinity", "github.sha", "github.SHA", "github.nope",
         "github.list", "github.event.a-b.c[1]", "github['event']['a-b']", "github.list[1.9]",
         "github.list['1']", "github.list[-1]", "github.nil.deep", "env.a", "env", "inputs.who",
         "steps.one.outputs.n", "steps.one.outputs.list", "github.zero", "github.empty",
         "github.text", "github.hex", "github.space", "github.dotless", "github.no", "github.neg"]
    ),
)  # fmt: skip


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = st.sampled_from(["==", "!=", "<", ">", "<=", ">=", "&&", "||"])
    two = st.tuples(inner, inner)
    return st.one_of(
        st.tuples(inner, operators, inner).map(" ".join),
        inner.map(lambda e: f"!{e}"),
        inner.map(lambda e: f"({e})"),
        inner.map(lambda e: f"toJSON({e})"),
        inner.map(lambda e: f"fromJson(toJson({e}))"),
        inner.map(lambda e: f"fromJSON({e})"),
        two.map(lambda p: f"contains({p[0]}, {p[1]})"),
        two.map(lambda p: f"StartsWith({p[0]}, {p[1]})"),
        two.map(lambda p: f"endswith({p[0]}, {p[1]})"),
        two.map(lambda p: f"join({p[0]}, {p[1]})"),
        inner.map(lambda e: f"join({e})"),
        two.map(lambda p: f"format('{{0}}-{{1}}{{{{}}}}', {p[0]}, {p[1]})"),
        two.map(lambda p: f"format({p[0]}, {p[1]})"),
        inner.map(lambda e: f"github[{e}]"),
        inner.map(lambda e: f"(fromJSON('[1,[2],{{\"a\":3}}]'))[{e}]"),
    )


expressions = st.recursive(leaves, _grown, max_leaves=8)


@settings(max_examples=30)
@given(texts=st.lists(expressions, min_size=60, max_size=60))
def test_expressions_mean_what_they_mean_at_github(oracle: Path, texts: list[str]) -> None:
    for text, answer in zip(texts, theirs(oracle, texts), strict=True):
        assert same(ours(text), answer), (text, ours(text), answer)


def test_what_github_does_not_take_for_an_expression_neither_do_we(oracle: Path) -> None:
    texts = [
        "", "a", "github.", "github..x", "1 +2", "'open", "f(", "nope(1)", "join()", "github[",
        "github[]", "1.2.3", "0x", "1_000", "== 1", "github sha", "'a'.b", "1[0]", "!", "&&", "a b",
        "format()", "contains('a')", "github.a-b.", "-", "--1", "(1", "1)", "true.x", "github.1",
        "startsWith('a','b','c')", "github,sha", "'a' = 'b'", "a & b", "#", "github.sha }}", "inf",
    ]  # fmt: skip
    for text, answer in zip(texts, theirs(oracle, texts), strict=True):
        if text != "":  # their parser says nothing of an empty one, and their evaluator breaks
            assert "error" in answer, text
        assert "error" in ours(text), text
