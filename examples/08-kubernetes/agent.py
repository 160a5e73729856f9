"""What an agent does: connect to the server over MCP, and call two tools."""

import asyncio
import os

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

URL = os.environ["MCP_SERVER_URL"] + "/mcp"
HEADERS = {"Authorization": f"Bearer {os.environ['MCP_API_KEY']}"}


async def main() -> None:
    async with (
        httpx2.AsyncClient(headers=HEADERS, timeout=60) as http,
        Client(streamable_http_client(URL, http_client=http)) as client,
    ):
        what = {"action": "list", "resource_type": "deployments", "namespace": "shop"}
        listed = (await client.call_tool("k8s_resource_manager", what)).structured_content
        print("deployments:", *(one["name"] for one in listed["resources"]))
        greeted = await client.call_tool("shop.greeter_greet", {"name": "Ada"})
        print("greeter:", greeted.content[0].text)


asyncio.run(main())
