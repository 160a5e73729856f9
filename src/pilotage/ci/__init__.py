"""Where we run: the CI job around us, and how to speak to it."""
