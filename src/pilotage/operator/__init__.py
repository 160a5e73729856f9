"""Resources of a cluster made true: one more client of the server and of its gateway."""
