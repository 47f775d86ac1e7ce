#!/usr/bin/env python3
"""A tool server, by the `mcp` package as it is published, on three ports: for clients with a
handshake, for those without, and for those of the old transport.
"""

import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError


def archive():
    server = MCPServer("archive", log_level="WARNING")

    @server.tool()
    async def search(query: str, context: Context) -> str:
        """Search the archive"""
        await context.report_progress(1, 2)
        return f"search of {query}: nothing unusual"

    @server.tool()
    def broken(query: str) -> str:
        """Fail"""
        raise ToolError("the archive is closed")

    @server.tool()
    async def dig(query: str, context: Context) -> str:
        """Go on for longer than anybody waits"""
        await context.report_progress(1, 2)
        await anyio.sleep(600)
        return f"nothing found of {query}"

    return server


async def main():
    shaken, plain, old = map(int, sys.argv[1:])
    async with anyio.create_task_group() as group:
        for port in [shaken, plain]:
            server = archive()
            group.start_soon(lambda server=server, port=port: server.run_streamable_http_async(port=port))
        group.start_soon(lambda: archive().run_sse_async(port=old))


anyio.run(main)
