"""What a sentence asks of a model that no description of a tool needs to ask: phrases.toml.

A rule is a chain: its first pattern, then each next one within so many characters of the one
before. No pattern has an unbounded gap, so the time is linear in the text whatever it holds.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from pilotage.domain.pattern import pattern

SENTENCE = 400
"""Longer sentences are cut into pieces of this many characters, which overlap by half."""
_OVER = 40  # so long may a pattern be that begins at the end of a gap
_SPLIT = pattern(r"(?<=[.!?])\s+|\n+|(?<=[。！？])")
_QUOTED = pattern(
    r"[\"'“‘«`]|\bsuch as\b|\btypical\b|\b(?:asks?|tells?) (?:a|an|the) (?:model|agent|assistant)\b"
)
_ATTACK = pattern(
    r"\b(?:prompt injections?|jailbreaks?|attacks?|attackers?|hostile|malicious|adversarial"
    r"|detect\w{0,4}|classif\w{0,6})\b"
)
QUOTED_POINTS = 5
_UNLESS = pattern(r"\bunless\b")
UNLESS_POINTS = 4
WINDOW = 3
_PAUSE = pattern("[:;]")
_WRAPPED = pattern(r"(?<=[\w,`'\")])[ \t]*\n[ \t]*(?=[\w`'\"(])(?!\d)")
START = 3
_NONE: frozenset[str] = frozenset()
_LITERAL = pattern(r"([a-z]*)(.?)")
_WORD = pattern(r"\w+")


class Sign(NamedTuple):
    """One thing that counts: of what kind, how much, and why in a few words."""

    kind: str
    points: int
    why: str


@dataclass(frozen=True, slots=True)
class _Rule:
    """`needs`: the names of its parts. `clause`: no colon or semicolon lies between them."""

    sign: Sign
    needs: frozenset[str]
    parts: tuple[re.Pattern[str], ...]
    gaps: tuple[int, ...]
    unless: re.Pattern[str] | None
    clause: bool


@dataclass(frozen=True, slots=True)
class _Rules:
    """`by_start`: the names of parts that a word which begins so may belong to; `always` those of
    which that cannot be said. `only_with`: kinds of signs that say nothing alone."""

    rules: tuple[_Rule, ...]
    by_start: Mapping[str, frozenset[str]]
    always: frozenset[str]
    only_with: frozenset[str]

    def may_fit(self, text: str) -> list[_Rule]:
        """The rules that have a word for each of their parts in the text: most often none."""
        begun = {word[:START] for word in _WORD.findall(text)}
        names = self.always.union(*(self.by_start.get(start, _NONE) for start in begun))
        return [rule for rule in self.rules if rule.needs <= names]


@functools.cache
def _rules() -> _Rules:
    """The rules that ship with Pilotage, compiled when the first tool is looked at."""
    told = tomllib.loads(files("pilotage.tool").joinpath("phrases.toml").read_text("utf-8"))
    patterns = {name: re.compile(one) for name, one in told["patterns"].items()}
    by_start: dict[str, frozenset[str]] = {}
    always = set(patterns)
    for name, words in told["words"].items():
        patterns[name] = re.compile(rf"(?<!\w)(?:{'|'.join(words)})(?!\w)")
        for start in map(_start, words):
            if start is None:
                always.add(name)
            else:
                by_start[start] = by_start.get(start, _NONE) | {name}
    rules = tuple(_rule(one, patterns) for one in told["rule"])
    return _Rules(rules, by_start, frozenset(always), frozenset(told["only_with"]))


def _start(alternative: str) -> str | None:
    """The first letters of what an alternative may begin with; None: it begins with a choice."""
    found = _LITERAL.match(alternative)
    assert found is not None
    word, after = found[1], found[2]
    if after in ("?", "*"):
        word, after = word[:-1], "("
    return word[:START] if len(word) >= START or (word and after in ("", " ", "-", "'")) else None


def _rule(told: Mapping[str, str | int | bool], patterns: Mapping[str, re.Pattern[str]]) -> _Rule:
    chain = str(told["chain"]).split()
    names, gaps = chain[::2], tuple(map(int, chain[1::2]))
    unless = patterns[str(told["unless"])] if "unless" in told else None
    sign = Sign(str(told["kind"]), int(told["points"]), str(told["why"]))
    parts = tuple(patterns[name] for name in names)
    return _Rule(sign, frozenset(names), parts, gaps, unless, bool(told.get("clause")))


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text, long ones in pieces. A line that is broken within one goes on."""
    for sentence in _SPLIT.split(_WRAPPED.sub(" ", text)):
        for at in range(0, max(1, len(sentence) - SENTENCE // 2), SENTENCE // 2):
            yield sentence[at : at + SENTENCE]


def signs(text: str) -> list[Sign]:
    """What a text in lower case asks for within `WINDOW` sentences, where that is most: at most
    one sign of each kind, its strongest; nothing where all of them say nothing alone."""
    known = _rules()
    if not known.may_fit(text):
        return []
    found = [_signs(known.may_fit(sentence), sentence) for sentence in sentences(text)]
    best: dict[str, Sign] = {}
    for at in range(len(found)):
        window: dict[str, Sign] = {}
        for one in found[at : at + WINDOW]:
            for sign in one:
                if sign.kind not in window or window[sign.kind].points < sign.points:
                    window[sign.kind] = sign
        if set(window) - known.only_with and _sum(window) > _sum(best):
            best = window
    return list(best.values())


def _sum(signs: Mapping[str, Sign]) -> int:
    return sum(sign.points for sign in signs.values())


def _signs(rules: list[_Rule], sentence: str) -> list[Sign]:
    """What one sentence asks for."""
    best: dict[str, Sign] = {}
    for rule in rules:
        sign = rule.sign
        before = best.get(sign.kind)
        if (before is None or before.points < sign.points) and _fits(rule, sentence):
            best[sign.kind] = sign
    if "override" in best and _quotes_an_attack(sentence):
        best["override"] = best["override"]._replace(points=QUOTED_POINTS)
        best.pop("file", None)
    if "concealment" in best and _UNLESS.search(sentence):
        best["concealment"] = best["concealment"]._replace(points=UNLESS_POINTS)
    return list(best.values())


def _fits(rule: _Rule, sentence: str) -> bool:
    for found in rule.parts[0].finditer(sentence):
        at = found.end()
        for gap, part in zip(rule.gaps, rule.parts[1:], strict=True):
            next_ = part.search(sentence, at, at + gap + _OVER)
            if next_ is None or next_.start() > at + gap:
                break
            if rule.clause and _PAUSE.search(sentence, at, next_.start()):
                break
            at = next_.end()
        else:
            if rule.unless is None or rule.unless.search(sentence, 0, found.start()) is None:
                return True
    return False


def _quotes_an_attack(sentence: str) -> bool:
    """Does it quote the words of an attack, to say what it detects? Then it is worth a warning."""
    return _QUOTED.search(sentence) is not None and _ATTACK.search(sentence) is not None
