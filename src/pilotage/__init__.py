"""Pilotage: one tool server for a whole delivery line."""

__version__ = "0.1.0"
