#!/usr/bin/env python3
"""An agent as they are written every day: the openai SDK, tools, a loop until the final answer.

It knows nothing of a gateway. Each finished workflow is one line of JSON on standard output: what
the client saw, to be compared with what the gateway and the model server say.
"""

import argparse
import itertools
import json
import os
import threading
import time

import openai

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": description,
            "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
        },
    }
    for name, description in [("search", "Search the archive"), ("read", "Read a document")]
]


class Workflow:
    """One task, from its wish to its final answer."""

    def __init__(self, client, args, tag):
        self.client = client
        self.args = args
        self.seen = {
            "tag": tag,
            "response_ids": [],
            "call_ids": [],
            "usage": dict.fromkeys(USAGE, 0),
            "peers": [],
            "error": None,
            "started": time.time(),
        }
        script = f"[steps={args.steps} parallel={args.parallel} tag={tag} {args.script}]"
        self.messages = [
            {"role": "system", "content": "You are a careful researcher. Use the tools."},
            {"role": "user", "content": f"{tag}: find out what the archive holds. {script}"},
        ]

    def run(self):
        try:
            while self.turn():
                pass
        except Exception as error:  # whatever the client sees is what we are here to report
            self.seen["error"] = f"{type(error).__name__}: {error}"
        self.seen["ended"] = time.time()
        return self.seen

    def turn(self):
        """One model call, and the tools that it asks for. False after the final answer."""
        ask = self.ask_streamed if self.args.stream else self.ask
        message = ask()
        self.messages.append(message)
        for call in message.get("tool_calls", []):
            self.seen["call_ids"].append(call["id"])
            function = call["function"]
            query = json.loads(function["arguments"])["query"]
            result = f"{function['name']} of {query}: nothing unusual"
            self.messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
        return "tool_calls" in message

    def ask(self):
        answer = self.client.chat.completions.create(
            model="scripted-1", messages=self.messages, tools=TOOLS
        )
        self.count(answer.id, answer.usage)
        return answer.choices[0].message.model_dump(exclude_none=True)

    def ask_streamed(self):
        answer = self.client.chat.completions.create(
            model="scripted-1",
            messages=self.messages,
            tools=TOOLS,
            stream=True,
            stream_options={"include_usage": True},
        )
        text, calls, usage = "", {}, None
        for chunk in answer:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                for piece in choice.delta.tool_calls or []:
                    function = {"name": "", "arguments": ""}
                    call = calls.setdefault(piece.index, {"type": "function", "function": function})
                    call["id"] = piece.id or call["id"]
                    call["function"]["name"] += piece.function.name or ""
                    call["function"]["arguments"] += piece.function.arguments or ""
        self.count(chunk.id, usage)
        message = {"role": "assistant", "content": text or None}
        if calls:
            message["tool_calls"] = [calls[index] for index in sorted(calls)]
        return message

    def count(self, response_id, usage):
        self.seen["response_ids"].append(response_id)
        self.seen["peers"].extend(PEERS.__dict__.pop("found", []))
        spent = self.seen["usage"]
        spent["input_tokens"] += usage.prompt_tokens
        spent["output_tokens"] += usage.completion_tokens
        spent["cache_read_tokens"] += usage.prompt_tokens_details.cached_tokens
        spent["reasoning_tokens"] += usage.completion_tokens_details.reasoning_tokens


USAGE = ["input_tokens", "output_tokens", "cache_read_tokens", "reasoning_tokens"]
PEERS = threading.local()


def note_peer(response):
    """Asks the socket whom it is connected to: getpeername(2)."""
    host, port, *_ = response.extensions["network_stream"].get_extra_info("server_addr")
    peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    PEERS.__dict__.setdefault("found", []).append(peer)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--prefix", default="w", help="begins each workflow's tag")
    parser.add_argument("--concurrency", type=int, default=1, help="workflows at the same time")
    parser.add_argument("--workflows", type=int, help="how many in all")
    parser.add_argument("--until", help="go on until this file is there")
    parser.add_argument("--steps", type=int, default=3, help="turns that call tools")
    parser.add_argument("--parallel", type=int, default=1, help="tool calls a turn")
    parser.add_argument("--script", default="", help="more words for the model server")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--own-clients", action="store_true", help="a client for each workflow")
    parser.add_argument("--max-retries", type=int, default=0, help="the SDK's own retries")
    args = parser.parse_args()

    def make_client():
        return openai.OpenAI(
            base_url=args.base_url,
            api_key="sk-none",
            max_retries=args.max_retries,
            http_client=openai.DefaultHttpxClient(event_hooks={"response": [note_peer]}),
        )

    shared = make_client()
    numbers, lock = itertools.count(), threading.Lock()

    def work():
        while not (args.until and os.path.exists(args.until)):
            with lock:
                number = next(numbers)
            if args.workflows is not None and number >= args.workflows:
                return
            client = make_client() if args.own_clients else shared
            seen = Workflow(client, args, f"{args.prefix}{number}").run()
            if args.own_clients:
                client.close()
            with lock:
                print(json.dumps(seen), flush=True)

    threads = [threading.Thread(target=work) for _ in range(args.concurrency)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
