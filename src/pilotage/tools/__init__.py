"""One file a tool, or a small family of tools."""
