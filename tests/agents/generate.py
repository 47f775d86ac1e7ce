#!/usr/bin/env python3
"""Calls of a model that would go on for minutes, by the SDK of OpenAI as it is published.

It knows nothing of a gateway. That a stream has begun, and what came of each call, is a line of JSON.
"""

import argparse
import asyncio
import json

import openai


def say(**words):
    print(json.dumps(words), flush=True)


async def call(client, number, stream):
    wish = f"Tell the story of the lighthouse with the number {number}."
    ask = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": wish}],
        "max_tokens": 3500,
        "extra_body": {"ignore_eos": True},
    }
    try:
        if not stream:
            await client.chat.completions.create(**ask)
        else:
            pieces = 0
            async for _ in await client.chat.completions.create(**ask, stream=True):
                pieces += 1
                if pieces == 5:
                    say(begun=number)
        say(whole=number)
    except Exception as error:
        say(error=str(error), kind=type(error).__name__)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("server")
    parser.add_argument("calls", type=int)
    parser.add_argument("--stream", action="store_true")
    args = parser.parse_args()
    client = openai.AsyncOpenAI(base_url=f"{args.server}/v1", api_key="sk-none", max_retries=0)
    await asyncio.gather(*[call(client, number, args.stream) for number in range(args.calls)])


asyncio.run(main())
