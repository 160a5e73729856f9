"""One file a scanner."""
