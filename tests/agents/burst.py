#!/usr/bin/env python3
"""Many calls at once, by an SDK of a model server as it is published and with what it does by itself:
its retries, its pool and its limits of time are its own, and its streams ask for no usage.

It knows nothing of a gateway. That a stream has begun, and what came of each call, is a line of JSON, at
once; the last line has how many requests were sent.
"""

import argparse
import asyncio
import json

import anthropic
import openai

MODEL = "scripted-1"


class Burst:
    def __init__(self, args):
        self.args = args
        self.attempts = 0

    def client(self, sdk):
        http = sdk.DefaultAsyncHttpxClient(event_hooks={"request": [self.attempted]})
        patience = {"timeout": self.args.patience} if self.args.patience else {}
        return {"api_key": "sk-none", "http_client": http, **patience}

    async def attempted(self, _):
        self.attempts += 1

    def ask(self, number):
        limit = {"max_tokens": self.args.max_tokens} if self.args.max_tokens else {}
        wish = f"What does shelf {number} hold? [{self.args.script}]"
        messages = [{"role": "user", "content": wish}]
        if self.args.after:
            messages.append({"role": "assistant", "content": self.args.after})
            messages.append({"role": "user", "content": f"Go on. [{self.args.script}]"})
        return {"model": MODEL, "messages": messages, **limit}

    async def call(self, number):
        seen = {"pieces": 0, "words": None, "delivered": ""}
        try:
            text = await self.answer(self.ask(number), seen)
            seen["words"] = len(text.split())
        except Exception as error:
            status = getattr(error, "status_code", None)
            seen["error"] = {"kind": type(error).__name__, "status": status, "text": str(error)}
        seen["delivered"] = len(seen["delivered"].split())
        say(seen)

    async def run(self):
        await asyncio.gather(*[self.call(number) for number in range(self.args.calls)])
        say({"attempts": self.attempts})


class OpenAI(Burst):
    def __init__(self, args):
        super().__init__(args)
        self.sdk = openai.AsyncOpenAI(base_url=f"{args.server}/v1", **self.client(openai))

    async def answer(self, ask, seen):
        create = self.sdk.chat.completions.create
        if not self.args.stream:
            return (await create(**ask)).choices[0].message.content
        async for piece in await create(**ask, stream=True):
            begin(seen)
            seen["delivered"] += piece.choices[0].delta.content or ""
        return seen["delivered"]


class Anthropic(Burst):
    def __init__(self, args):
        super().__init__(args)
        self.sdk = anthropic.AsyncAnthropic(base_url=args.server, **self.client(anthropic))

    async def answer(self, ask, seen):
        if not self.args.stream:
            return (await self.sdk.messages.create(**ask)).content[0].text
        async with self.sdk.messages.stream(**ask) as pieces:
            async for piece in pieces:
                begin(seen)
                seen["delivered"] += piece.text if piece.type == "text" else ""
            return await pieces.get_final_text()


def begin(seen):
    seen["pieces"] += 1
    if seen["pieces"] == 1:
        say({"begun": True})


def say(words):
    print(json.dumps(words), flush=True)


parser = argparse.ArgumentParser()
parser.add_argument("--stream", action="store_true")
parser.add_argument("--max-tokens", type=int)
parser.add_argument("--patience", type=float, help="seconds that a try may take")
parser.add_argument("--after", help="what the model has said before: the conversation goes on")
parser.add_argument("sdk", choices=["openai", "anthropic"])
parser.add_argument("server")
parser.add_argument("calls", type=int)
parser.add_argument("script")
given = parser.parse_args()
asyncio.run({"openai": OpenAI, "anthropic": Anthropic}[given.sdk](given).run())
