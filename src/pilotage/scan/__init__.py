"""Scan and gate: stage -> inventory -> choose -> run -> merge -> gate."""
