"""`${{ }}` as GitHub reads it: the grammar, and how a parsed expression gets its value.

Held to GitHub's own evaluator (npm @actions/expressions) in tests/pipeline. Left out, and refused:
`*` (object filters), and functions that look at a runner (hashFiles, success, always).
Source: https://docs.github.com/actions/reference/workflows-and-actions/expressions
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.errors import BadInput
from pilotage.domain.text import did_you_mean
from pilotage.pipeline.functions import FUNCTIONS
from pilotage.pipeline.values import equal, less, number, primitive, text, truthy
from pilotage.pipeline.work import NODE, Work

CONTEXTS = ("github", "env", "inputs", "steps")
LENGTH, DEPTH = 21_000, 50
GRAMMAR = r"""
    ?start: or
    ?or: and ("||" and)*
    ?and: equality ("&&" equality)*
    ?equality: order (EQUALITY order)*
    ?order: unary (ORDER unary)*
    ?unary: "!" unary -> not
        | index
        | NUMBER -> number
        | STRING -> string
        | CONSTANT -> constant
    ?index: NAME -> context
        | NAME "(" [or ("," or)* ","?] ")" -> function
        | "(" or ")" -> group
        | index "." NAME -> property
        | index "[" or "]" -> item

    EQUALITY: "==" | "!="
    ORDER: "<=" | ">=" | "<" | ">"
    CONSTANT.2: /(true|false|null|NaN|Infinity)(?![A-Za-z0-9_-])/
    NAME.1: /[A-Za-z_][A-Za-z0-9_-]*/
    NUMBER: /[-+.0-9][^\s()\[\],!<>=&|]*/
    STRING: /'([^']|'')*'/
    %ignore /[ \t\r\n]+/
"""
_CONSTANTS = {"true": True, "false": False, "null": None, "NaN": math.nan, "Infinity": math.inf}


@dataclass(frozen=True, slots=True)
class Expression:
    """`reads` are the paths into contexts that it names, as far as they are spelt out:
    `steps.build.outputs[n]` reads ("steps", "build", "outputs")."""

    text: str
    tree: Any
    reads: tuple[tuple[str, ...], ...]


@functools.lru_cache(4096)
def parse(source: str) -> Expression:
    """BadInput says what is wrong and at which character."""
    import lark  # here, since it costs 75 ms and most runs have no expression

    if len(source) > LENGTH:
        raise BadInput(f"an expression is longer than {LENGTH} characters")
    try:
        tree = _parser().parse(source)
    except lark.UnexpectedEOF:
        raise BadInput(f"the expression {source.strip()!r} is not complete") from None
    except lark.UnexpectedInput as error:
        raise BadInput(
            f"the expression {source.strip()!r} is not one: unexpected "
            f"{source[error.pos_in_stream : (error.pos_in_stream or 0) + 10]!r} "
            f"at character {(error.pos_in_stream or 0) + 1}",
            "text stands in single quotes",
        ) from None
    reads: list[tuple[str, ...]] = []
    _check(tree, reads)
    return Expression(source, tree, tuple(reads))


@functools.cache
def _parser() -> Any:
    import lark

    return lark.Lark(GRAMMAR, parser="lalr", maybe_placeholders=False)


def _check(tree: Any, reads: list[tuple[str, ...]]) -> None:
    """Depth, names of contexts, names and arguments of functions; and what is read."""
    waiting: list[tuple[Any, int, bool]] = [(tree, 1, True)]
    while waiting:
        node, depth, top = waiting.pop()
        if depth > DEPTH:
            raise BadInput(f"an expression is nested deeper than {DEPTH}")
        if not hasattr(node, "data"):
            continue
        if node.data == "function":
            _check_function(node)
        elif node.data == "number" and math.isnan(number(str(node.children[0]))):
            raise BadInput(f"{node.children[0]} is not a number")
        elif top and node.data in ("context", "property", "item"):
            reads.append(_path(node))
        inner = node.data in ("property", "item")
        waiting += [
            (child, depth + 1, not (inner and place == 0))
            for place, child in enumerate(node.children)
        ]


def _path(node: Any) -> tuple[str, ...]:
    """The names from the context on, as far as they are constants; () if it is no context."""
    if node.data == "context":
        name = str(node.children[0]).lower()
        if name not in CONTEXTS:
            raise BadInput(f"there is no context {name!r}", _nearest(name, CONTEXTS))
        return (name,)
    if node.data not in ("property", "item"):
        return ()
    below, key = _path(node.children[0]), node.children[1]
    if getattr(key, "data", None) == "string":
        key = _string(key.children[0])
    elif node.data == "item":
        return (*below, "") if below else ()
    return below if not below or below[-1] == "" else (*below, str(key))


def _check_function(node: Any) -> None:
    name, count = str(node.children[0]), len(node.children) - 1
    function = FUNCTIONS.get(name.lower())
    if function is None:
        names = [one.name for one in FUNCTIONS.values()]
        raise BadInput(f"there is no function {name!r}", _nearest(name, names))
    if count < function.least or (function.most is not None and count > function.most):
        raise BadInput(f"{function.name} does not take {count} arguments")


def _nearest(name: str, known: tuple[str, ...] | list[str]) -> str:
    return did_you_mean(name, known) or "known: " + ", ".join(known)


def evaluate(expression: Expression, contexts: Mapping[str, Any], work: Work | None = None) -> Any:
    """Its value. BadInput where a function refuses its arguments, or where it is more work than is
    left of `work` (None: as much as one value has)."""
    try:
        return _Evaluation(contexts, work or Work()).value(expression.tree)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"${{{{{expression.text[:1000]}}}}}: {error}") from None


class _Evaluation:
    """One expression on its way, and the work that is left for it."""

    def __init__(self, contexts: Mapping[str, Any], work: Work) -> None:
        self._contexts, self._work = contexts, work

    def value(self, node: Any) -> Any:
        self._work.take(NODE)
        children = node.children
        match node.data:
            case "string":
                return _string(children[0])
            case "number":
                exact = number(str(children[0]))
                return int(exact) if exact.is_integer() and abs(exact) < 1e15 else exact
            case "constant":
                return _CONSTANTS[children[0]]
            case "context":
                return self._contexts.get(str(children[0]).lower(), {})
            case "group":
                return self.value(children[0])
            case "not":
                return not truthy(self.value(children[0]))
            case "property":
                return self._look_up(self.value(children[0]), str(children[1]))
            case "item":
                index = self.value(children[1])
                return self._look_up(self.value(children[0]), index)
            case "function":
                return self._call(children)
            case "or" | "and":
                return self._logic(node.data == "or", children)
        return self._compare(children)

    def _look_up(self, holder: Any, index: Any) -> Any:
        self._work.look_up(holder, index)
        return _look_up(holder, index)

    def _call(self, children: list[Any]) -> Any:
        name, arguments = children[0].lower(), [self.value(child) for child in children[1:]]
        self._work.call(name, arguments)
        made = FUNCTIONS[name].call(*arguments)
        self._work.texts(made)
        return made

    def _logic(self, stops_at: bool, operands: list[Any]) -> Any:
        """The operand that settled it, as in JavaScript."""
        value = None
        for operand in operands:
            value = self.value(operand)
            if truthy(value) is stops_at:
                break
        return value

    def _compare(self, children: list[Any]) -> bool:
        left = self.value(children[0])
        for operator, operand in zip(children[1::2], children[2::2], strict=True):
            right = self.value(operand)
            self._work.texts(left, right)
            match str(operator):
                case "==":
                    left = equal(left, right)
                case "!=":
                    left = not equal(left, right)
                case "<":
                    left = less(left, right)
                case ">":
                    left = less(right, left)
                case "<=":
                    left = equal(left, right) or less(left, right)
                case _:
                    left = equal(left, right) or less(right, left)
        return bool(left)


def _look_up(holder: Any, index: Any) -> Any:
    """A property (without regard to case) or an item; None where there is none."""
    if isinstance(holder, Mapping) and primitive(index):
        wanted = text(index).lower()
        return next((holder[key] for key in holder if key.lower() == wanted), None)
    if isinstance(holder, list):
        place = number(index)
        if 0 <= place < len(holder):
            return holder[math.floor(place)]
    return None


def _string(token: str) -> str:
    return token[1:-1].replace("''", "'")
