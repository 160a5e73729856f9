"""Append-only, hash-chained, with signed checkpoints that lie outside the database."""
