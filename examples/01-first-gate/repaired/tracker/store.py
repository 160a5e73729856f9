"""Parcels in SQLite."""

import sqlite3

from django.core import signing

from tracker import settings


def find(number):
    """The parcel with this tracking number, or None."""
    connection = sqlite3.connect(settings.DATABASE)
    query = "SELECT number, status, town FROM parcels WHERE number = ?"
    return connection.execute(query, (number,)).fetchone()


def restore(cookie):
    """What the visitor looked at last: JSON that we have signed ourselves."""
    return signing.loads(cookie, key=settings.COOKIE_KEY)
