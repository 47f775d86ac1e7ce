#!/usr/bin/env python3
"""Workflows by LangGraph: agents that are graphs, tools that ask another agent, a checkpointer for
sessions of several wishes. One process and one pool of connections for all.
"""

import asyncio

import work
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_core.tools import tool
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

TOOLS = [tool(function) for function in (work.search_documents, work.read_document, work.calculate)]


class Briefing(BaseModel):
    """A briefing, to be printed."""

    summary: str
    pages: int


def asking(name, description, agent):
    """A tool that has another agent do something."""

    async def ask(task: str) -> str:
        said = await agent.ainvoke({"messages": [{"role": "user", "content": task}]})
        return said["messages"][-1].text

    return tool(name, description=description)(ask)


def office(model, formal):
    """The agents of one customer."""
    checker = create_agent(model, TOOLS, system_prompt=work.CHECKER)
    ask_checker = asking("ask_checker", "Have a figure or a quotation checked.", checker)
    researcher = create_agent(model, [*TOOLS, ask_checker], system_prompt=work.RESEARCHER)
    return create_agent(
        model,
        [*TOOLS, asking("ask_researcher", "Have one question looked up.", researcher)],
        system_prompt=work.INSTRUCTIONS,
        checkpointer=InMemorySaver(),
        response_format=ToolStrategy(Briefing) if formal else None,
    )


def chat_model(order, key):
    manner = {"timeout": order["timeout"], "streaming": order["streamed"], "max_retries": 3}
    if order["api"] == "messages":
        return ChatAnthropic(
            model="claude-sonnet-4-5", api_key=key, base_url=order["base_url"], **manner
        )
    return ChatOpenAI(
        model="gpt-4.1",
        api_key=key,
        base_url=order["base_url"] + "/v1",
        use_responses_api=order["api"] == "responses",
        **manner,
    )


async def main():
    order = work.read()

    async def do(job):
        agent, answers = office(chat_model(order, job["key"]), job["formal"]), []
        config = {"configurable": {"thread_id": job["key"]}}
        for wish in job["wishes"]:
            said = {"messages": [{"role": "user", "content": wish}]}
            result = await agent.ainvoke(said, config)
            formal = result.get("structured_response")
            answers.append(formal.summary if formal else result["messages"][-1].text)
        return answers

    await work.run(order, do)


asyncio.run(main())
