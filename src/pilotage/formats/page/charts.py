"""Small charts as inline SVG. Each stands in a table that gives its figures as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pilotage.domain.finding import Severity
from pilotage.formats.page.markup import Markup, joined, tag

Row = tuple[str, Mapping[Severity, int]]
"""A label, and how many findings of each severity."""


def bars(caption: str, rows: Sequence[Row], severities: Sequence[Severity]) -> Markup:
    """Horizontal bars, each divided by severity, to the scale of the longest."""
    longest = max((sum(counts.values()) for _, counts in rows), default=0) or 1
    body = [
        tag(
            "tr",
            tag("th", label, scope="row"),
            tag("td", _bar(counts, longest, severities), class_="bar"),
            tag("td", str(sum(counts.values())), class_="number"),
        )
        for label, counts in rows
    ]
    return tag(
        "figure",
        tag("figcaption", caption),
        tag("table", tag("tbody", *body), class_="bars"),
        class_="card chart",
    )


def strip(counts: Mapping[Severity, int], severities: Sequence[Severity]) -> Markup:
    """One bar over the whole width, divided by severity."""
    return tag("div", _bar(counts, sum(counts.values()) or 1, severities), class_="strip")


def _bar(counts: Mapping[Severity, int], longest: int, severities: Sequence[Severity]) -> Markup:
    pieces, at = [], 0.0
    for severity in severities:
        width = 100 * counts.get(severity, 0) / longest
        if width:
            pieces.append(
                tag(
                    "rect",
                    x=round(at, 3),
                    width=round(width, 3),
                    height=10,
                    class_=f"fill-{severity.value}",
                )
            )
            at += width
    return tag(
        "svg",
        tag("rect", width=100, height=10, class_="track"),
        joined(*pieces),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
