"""A client of the Kubernetes API: objects are plain dicts, errors say what to mend."""
