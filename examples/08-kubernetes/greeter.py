"""A small MCP server, by the official SDK: one tool."""

from mcp.server import MCPServer

server = MCPServer("greeter")


@server.tool()
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}."


if __name__ == "__main__":
    server.run("streamable-http", host="0.0.0.0", port=8080)
