"""Tools that others own: declared HTTP endpoints and federated MCP servers."""
