"""Durable pipelines: a run is its journal."""
