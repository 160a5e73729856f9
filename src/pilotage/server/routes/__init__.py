"""The management API, one file a resource. Each file's `add` puts its routes on the application."""
