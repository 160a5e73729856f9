"""Labels that people print and stick on a parcel."""

import hashlib
from pathlib import Path

from jinja2 import Environment

from tracker import settings

PAGES = Environment(autoescape=True)
SPOOL = Path("spool")


def label(parcel):
    """The label as HTML."""
    return PAGES.from_string("<h1>{{ number }}</h1><p>{{ town }}</p>").render(**parcel)


def print_label(page, printer):
    """Leave a label in the folder that a printer of the depot reads."""
    if printer not in settings.PRINTERS:
        raise ValueError("no such printer")
    (SPOOL / printer / f"{receipt(page)}.html").write_text(page, encoding="utf-8")


def receipt(number):
    """A short code that proves that a parcel was handed in."""
    return hashlib.sha256(number.encode()).hexdigest()[:16]
