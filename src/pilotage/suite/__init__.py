"""Run a repository's own tests, shut in, and judge what they say."""
