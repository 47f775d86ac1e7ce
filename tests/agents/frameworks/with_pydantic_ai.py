#!/usr/bin/env python3
"""Workflows by pydantic-ai: tools, agents that delegate to others, outputs of a given form, sessions of
several wishes. One process and one pool of connections for all.
"""

import asyncio

import work
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, RunContext
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

TOOLS = [work.search_documents, work.read_document, work.calculate]


class Briefing(BaseModel):
    """A briefing, to be printed."""

    summary: str
    pages: int


def office(model):
    """The agents of one customer: one that answers in words, and one that fills in a form."""
    checker = Agent(model, instructions=work.CHECKER, tools=TOOLS)
    researcher = Agent(model, instructions=work.RESEARCHER, tools=TOOLS)

    @researcher.tool
    async def ask_checker(ctx: RunContext[None], task: str) -> str:
        """Have a figure or a quotation checked."""
        return (await checker.run(task, usage=ctx.usage)).output

    assistant = Agent(model, instructions=work.INSTRUCTIONS, tools=TOOLS)
    printer = Agent(model, instructions=work.INSTRUCTIONS, tools=TOOLS, output_type=Briefing)

    @assistant.tool
    async def ask_researcher(ctx: RunContext[None], task: str) -> str:
        """Have one question looked up."""
        return (await researcher.run(task, usage=ctx.usage)).output

    return assistant, printer


def models(order):
    """Makes the model of each customer, over one client."""
    if order["api"] == "messages":
        client = AsyncAnthropic(
            base_url=order["base_url"], api_key="none", timeout=order["timeout"]
        )
        return lambda key: AnthropicModel(
            "claude-sonnet-4-5",
            provider=AnthropicProvider(anthropic_client=client.with_options(api_key=key)),
        )
    kind = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}[order["api"]]
    client = AsyncOpenAI(
        base_url=order["base_url"] + "/v1", api_key="none", timeout=order["timeout"]
    )
    return lambda key: kind(
        "gpt-4.1", provider=OpenAIProvider(openai_client=client.with_options(api_key=key))
    )


async def answer(agent, wish, said, streamed):
    if not streamed:
        return await agent.run(wish, message_history=said)
    async with agent.iter(wish, message_history=said) as run:
        async for node in run:
            if Agent.is_model_request_node(node):
                async with node.stream(run.ctx) as events:
                    async for _ in events:
                        pass
    return run.result


async def main():
    order = work.read()
    model = models(order)

    async def do(job):
        assistant, printer = office(model(job["key"]))
        said, answers = None, []
        for wish in job["wishes"]:
            agent = printer if job["formal"] else assistant
            result = await answer(agent, wish, said, order["streamed"])
            said = result.all_messages()
            answers.append(result.output.summary if job["formal"] else result.output)
        return answers

    await work.run(order, do)


asyncio.run(main())
