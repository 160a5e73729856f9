"""Parcels in SQLite."""

import pickle
import sqlite3

from tracker import settings


def find(number):
    """The parcel with this tracking number, or None."""
    connection = sqlite3.connect(settings.DATABASE)
    query = "SELECT number, status, town FROM parcels WHERE number = '%s'" % number
    return connection.execute(query).fetchone()


def restore(cookie):
    """What the visitor looked at last."""
    return pickle.loads(cookie)
