#!/usr/bin/env python3
"""Calls of a model, some at a time and one after the other, by OpenAI's SDK, until standard input ends.

It knows nothing of a gateway, and calls again when a call has failed, after a moment. What came of each
call is a line of JSON: how many words it was answered, or the error. Every other caller streams.
"""

import asyncio
import json
import sys

import httpx
import openai

MODEL = "scripted-1"
server, at_a_time, max_tokens, script = sys.argv[1:]
ended = asyncio.Event()


async def end():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    ended.set()


async def answer(client, wish, stream):
    message = {"role": "user", "content": f"{wish} [{script}]"}
    ask = {"model": MODEL, "messages": [message], "max_tokens": int(max_tokens)}
    create = client.chat.completions.create
    if not stream:
        return (await create(**ask)).choices[0].message.content
    pieces = [piece async for piece in await create(**ask, stream=True)]
    return "".join(piece.choices[0].delta.content or "" for piece in pieces)


async def call(client, wish, stream):
    try:
        text = await answer(client, wish, stream)
        print(json.dumps({"words": len(text.split())}), flush=True)
    # A stream that breaks raises what the SDK's own client does.
    except (openai.OpenAIError, httpx.HTTPError) as error:
        print(json.dumps({"error": type(error).__name__}), flush=True)
        await asyncio.sleep(0.02)


async def work(client, worker):
    number = 0
    while not ended.is_set():
        await call(client, f"What does shelf {worker} hold in row {number}?", worker % 2 == 1)
        number += 1


async def main():
    client = openai.AsyncOpenAI(base_url=f"{server}/v1", api_key="sk-none", max_retries=0)
    await asyncio.gather(end(), *[work(client, worker) for worker in range(int(at_a_time))])


asyncio.run(main())
