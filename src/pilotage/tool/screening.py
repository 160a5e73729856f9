"""Hidden instructions in what tools of other owners say of themselves.

Each text of a tool is looked at as it came (what hides in it), with lookalikes and spacing undone
(what it asks for), and decoded. A score from `THRESHOLD` on holds the tool back until a person
approves it; below it, the reasons are warnings. How well it does: `python -m bench.screening`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pilotage.domain.pattern import pattern
from pilotage.domain.text import cut, visible
from pilotage.tool import foreign_phrases, hidden, markup, phrases, plain_text
from pilotage.tool.phrases import Sign

THRESHOLD = 8
WARNING = 5
TEXT_LIMIT = 8_000
TEXT_MOST = 16_000
"""What is longer than this is held back, and read so far only."""
NAME_LIMIT = 128
DECODED_TAKES = 6
SHORTEST = 6
"""No shorter text asks for anything."""
_SECRET_NAME = pattern(
    r"\b(?:id (?:rsa|ed25519)|ssh (?:private )?key content|system prompt|etc passwd)\b"
)
_NAME_ITEMS = frozenset(
    ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
)
_ODD_PLACES = frozenset(("title", "annotations", "output schema"))
_POINTS = {"tag": 10, "bidi": 10, "control": 10, "blank": 10, "zero": 4, "selector": 4, "mark": 4}


@dataclass(frozen=True, slots=True)
class Screened:
    """What was found: a score, and a reason in a sentence for each thing that counts, the worst
    first. From `THRESHOLD` on the text is `bad`; below it its reasons are warnings."""

    score: int
    reasons: tuple[str, ...]

    @property
    def bad(self) -> bool:
        return self.score >= THRESHOLD


@dataclass(frozen=True, slots=True)
class _Text:
    where: str
    text: str
    is_name: bool


def screen(surface: Mapping[str, Any]) -> Screened:
    """Look through all that a tool says of itself (see tool/surface.py)."""
    best: dict[str, tuple[Sign, str]] = {}
    for one in _texts(surface):
        for sign in _signs(one):
            known = best.get(sign.kind)
            if known is None or sign.points > known[0].points:
                best[sign.kind] = (sign, one.where)
    odd = next((where for sign, where in best.values() if where in _ODD_PLACES), None)
    if odd is not None:
        best["place"] = (Sign("place", 3, "is no place for instructions"), odd)
    found = sorted(best.values(), key=lambda pair: -pair[0].points)
    score = sum(sign.points for sign, _ in found)
    if score < WARNING:
        return Screened(score, ())
    return Screened(score, tuple(f"its {where} {sign.why}" for sign, where in found))


def signs_of(text: str) -> list[Sign]:
    """What any text asks of a model, with lookalikes and spacing undone, and decoded."""
    if len(text) < SHORTEST:
        return []
    text = text[:TEXT_MOST]
    read = plain_text.normal(text)
    found = [*phrases.signs(read), *foreign_phrases.signs(read)]
    if plain_text.spaced(read) >= 20:
        found.append(Sign("disguise", 8, "spells words letter by letter"))
    for variant in (plain_text.unspaced(read), plain_text.unleet(read)):
        if variant is not None:
            more = phrases.signs(variant)
            found += (
                [Sign("disguise", 5, "spells words so that filters miss them"), *more]
                if more
                else []
            )
    encoded = list(plain_text.decoded(text))
    encoded.append(("rot13", plain_text.rot13(read)))
    for name, plain in encoded:
        inner = plain_text.normal(plain)
        points = sum(sign.points for sign in _strongest(phrases.signs(inner)))
        if points >= DECODED_TAKES:
            found.append(Sign("encoded", 10, f"holds instructions in {name}"))
    return found


def _strongest(signs: list[Sign]) -> Iterator[Sign]:
    yield from {sign.kind: sign for sign in sorted(signs, key=lambda sign: sign.points)}.values()


def _signs(one: _Text) -> Iterator[Sign]:
    text, counts = hidden.clean(one.text)
    for kind, count in counts.items():
        yield _hiding(one.text, kind, count)
    yield from _lengths(one)
    if one.is_name:
        yield from _name(text)
        text = text.replace("_", " ").replace("-", " ")
        if _SECRET_NAME.search(text.lower()):
            yield Sign("name", 10, "names a file that holds secrets")
    else:
        mixed = plain_text.mixed_words(text)
        if mixed:
            word = cut(visible(mixed[0]), 40)
            yield Sign("lookalike", 10 if len(mixed) > 1 else 6, f"mixes alphabets in {word!r}")
        yield from markup.signs(text)
    yield from signs_of(text)
    if counts["zero"] and text != one.text:
        # what reads harmless in pieces may not do so whole, and the other way round
        yield from phrases.signs(plain_text.normal(one.text))


def _hiding(text: str, kind: str, count: int) -> Sign:
    """Few zero-width characters may be an accident; many, or one within a word, are not."""
    points = _POINTS[kind]
    if points < THRESHOLD:
        within = any(
            text[at - 1 : at].isascii() and text[at - 1 : at].isalpha()
            and text[end : end + 1].isascii() and text[end : end + 1].isalpha()
            for at, end, found in hidden.find(text) if found == kind
        )  # fmt: skip
        points = THRESHOLD if within or count >= 4 else points
    return Sign(f"hidden-{kind}", points, f"holds {hidden.told(Counter({kind: count}))}")


def _lengths(one: _Text) -> Iterator[Sign]:
    if one.is_name and len(one.text) > NAME_LIMIT:
        yield Sign("length", 6, f"is a name of {len(one.text)} characters")
    elif len(one.text) > TEXT_LIMIT:
        points = THRESHOLD if len(one.text) > TEXT_MOST else 5
        yield Sign("length", points, f"is {len(one.text)} characters long")


def _name(text: str) -> Iterator[Sign]:
    mixed = plain_text.mixed_words(text)
    if mixed:
        yield Sign("lookalike", 10, f"mixes alphabets in {cut(visible(mixed[0]), 40)!r}")


def _texts(surface: Mapping[str, Any]) -> Iterator[_Text]:
    """Every text that a model may read, with where it stands in words."""
    for key, value in surface.items():
        if key in ("effect", "target"):
            continue
        if key == "name":
            yield _Text("name", str(value), True)
        elif isinstance(value, str):
            yield _Text(key, value, False)
        else:
            yield from _inside(value, _PARTS.get(key, key), False)


_PARTS = {"inputSchema": "input schema", "outputSchema": "output schema"}


def _inside(value: Any, where: str, names: bool) -> Iterator[_Text]:
    """Texts within a schema or annotations; `names`: the keys of this object are names."""
    if isinstance(value, str):
        yield _Text(where, value, False)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            if names:
                yield _Text(f"{where}'s name", key, True)
                yield from _inside(item, f"parameter {cut(visible(key), 60)}", False)
            else:
                if not key.isascii() or " " in key:
                    yield _Text(where, key, False)
                yield from _inside(item, where, key in _NAME_ITEMS)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _inside(item, where, False)
