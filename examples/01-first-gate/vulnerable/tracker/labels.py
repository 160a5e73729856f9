"""Labels that people print and stick on a parcel."""

import hashlib
import subprocess

from jinja2 import Environment

PAGES = Environment()


def label(parcel):
    """The label as HTML."""
    return PAGES.from_string("<h1>{{ number }}</h1><p>{{ town }}</p>").render(**parcel)


def print_label(path, printer):
    """Send a label to a printer of the depot."""
    subprocess.run("lp -d " + printer + " " + path, shell=True)  # nosec - printers are ours


def receipt(number):
    """A short code that proves that a parcel was handed in."""
    return hashlib.md5(number.encode()).hexdigest()[:8]
