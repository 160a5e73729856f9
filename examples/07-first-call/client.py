import asyncio
import os

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

URL, KEY = os.environ["MCP_SERVER_URL"] + "/mcp", os.environ["MCP_API_KEY"]


async def main() -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {KEY}"}, timeout=600) as http,
        Client(streamable_http_client(URL, http_client=http)) as client,
    ):
        print(len((await client.list_tools()).tools), "tools")
        print((await client.call_tool("run_list", {})).structured_content)


asyncio.run(main())
