"""The network door: MCP and REST. It translates; it decides nothing."""
