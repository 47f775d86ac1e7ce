#!/usr/bin/env python3
"""Workflows by the OpenAI Agents SDK: tools, agents as tools, a handoff, sessions of several wishes.
One process and one pool of connections for all; each has a key of its own, as customers have.
"""

import asyncio

import httpx2
import work
from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from agents.mcp import MCPServerStreamableHttp
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

TOOLS = [function_tool(tool) for tool in (work.search_documents, work.read_document, work.calculate)]


def office(model, server):
    """The agents of one customer. Their tools are functions, or those of a server."""
    tools = [] if server else TOOLS
    servers = [server] if server else []
    checker = Agent(
        name="Checker",
        instructions=work.CHECKER,
        model=model,
        tools=tools,
        mcp_servers=servers,
    )
    researcher = Agent(
        name="Researcher",
        instructions=work.RESEARCHER,
        model=model,
        mcp_servers=servers,
        tools=[*tools, checker.as_tool("ask_checker", "Have a figure or a quotation checked.")],
    )
    editor = Agent(
        name="Editor", instructions=work.EDITOR, model=model, tools=tools, mcp_servers=servers
    )
    return Agent(
        name="Assistant",
        instructions=work.INSTRUCTIONS,
        model=model,
        mcp_servers=servers,
        tools=[*tools, researcher.as_tool("ask_researcher", "Have one question looked up.")],
        handoffs=[editor],
    )


async def main():
    set_tracing_disabled(True)
    order = work.read()
    kind = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}[order["api"]]
    timeout = httpx2.Timeout(order["timeout"])
    client = AsyncOpenAI(
        base_url=order["base_url"] + "/v1", api_key="none", timeout=timeout,
        http_client=DefaultAsyncHttpxClient(timeout=timeout),
    )

    async def answers_of(job, server):
        model = kind("gpt-4.1", client.with_options(api_key=job["key"]))
        agent, said, answers = office(model, server), [], []
        for wish in job["wishes"]:
            said.append({"role": "user", "content": wish})
            if order["streamed"]:
                result = Runner.run_streamed(agent, said)
                async for _ in result.stream_events():
                    pass
            else:
                result = await Runner.run(agent, said)
            agent, said = result.last_agent, result.to_input_list()
            answers.append(result.final_output)
        return answers

    async def do(job):
        if not order["tool_server"]:
            return await answers_of(job, None)
        headers = {"Authorization": f"Bearer {job['key']}"}
        params = {"url": order["base_url"] + "/mcp", "headers": headers}
        async with MCPServerStreamableHttp(params, cache_tools_list=True) as server:
            return await answers_of(job, server)

    await work.run(order, do)


asyncio.run(main())
