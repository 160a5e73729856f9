"""One file a CI platform."""
