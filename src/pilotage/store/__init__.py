"""The only SQL. SQLite: one file, one writer thread, group commit."""
