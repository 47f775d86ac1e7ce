#!/usr/bin/env python3
"""SDKs of model servers and tool servers as they are published, each in a small agent.

They know nothing of a gateway. Every case has a conversation of its own, at the same time as the
others: it asks, does what tools it is asked to do, and asks again until there is an answer. What it
saw is one line of JSON, as is that its stream has begun.
"""

import argparse
import io
import json
import threading

import anthropic
import anyio
import google.genai
import httpx
import httpx2
import mcp.client.sse
import mcp.client.streamable_http
import mcp.shared._httpx_utils
import ollama
import openai

MODEL = "scripted-1"
# Longer than any tool takes, and shorter than a test.
TOO_LONG = 20
SYSTEM = "You are a careful researcher. Use the tools."
SCHEMA = {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]}
TOOLS = {"search": "Search the archive", "read": "Read a document"}


class Seen:
    """What one case saw."""

    def __init__(self, case, out):
        self.case, self.out, self.begun = case, out, False
        self.response_ids, self.calls, self.texts = [], [], []
        self.attempts, self.errors = 0, []

    def attempted(self, *_):
        self.attempts += 1

    async def attempted_soon(self, *_):
        self.attempts += 1

    def pieces(self, stream):
        """The pieces of a stream, the first of which is told of."""
        for piece in stream:
            if not self.begun:
                self.begun = True
                self.say(event="streaming")
            yield piece

    def failed(self, error):
        """With the causes that an exception group has."""
        for inner in getattr(error, "exceptions", []):
            self.failed(inner)
        self.errors.append(f"{type(error).__name__}: {error}")

    def end(self):
        seen = {name: getattr(self, name) for name in SEEN}
        self.say(event="end", **seen)

    def say(self, **words):
        with LOCK:
            print(json.dumps({"case": self.case, **words}), flush=True)


LOCK = threading.Lock()
SEEN = ["response_ids", "calls", "texts", "attempts", "errors"]


def doubled(request):
    """Says the first thing that a JSON object says once more, as some programs do that write theirs
    by hand. A hook of httpx, and of httpx2, before the request is sent."""
    name, _, rest = request.content.removeprefix(b"{").partition(b":")
    value = json.JSONDecoder().raw_decode(rest.decode().lstrip())[0]
    body = b"{%s:%s,%s:%s" % (name, json.dumps(value).encode(), name, rest)
    stream = {"httpx": httpx, "httpx2": httpx2}[type(request).__module__.partition(".")[0]]
    request.stream = stream.ByteStream(body)
    request.headers["content-length"] = str(len(body))


class Case:
    """A conversation in one API. `ask` returns the tools that are to be used, by id and name."""

    def __init__(self, url, seen, wish, stream, args):
        self.url, self.seen, self.wish, self.stream = url, seen, wish, stream
        self.doubles, self.strict = args.double, args.strict
        self.hooks = {"request": [seen.attempted] + [doubled] * args.double}
        self.begin()

    def run(self):
        while calls := self.ask():
            self.seen.calls += [[call_id, name] for call_id, name, _ in calls]
            self.tell([(*call, f"{call[1]} of {call[2]['query']}: nothing unusual") for call in calls])

    def answered(self, response_id, text):
        self.seen.response_ids += [response_id] if response_id else []
        self.seen.texts += [text] if text else []


class OpenAI(Case):
    # Whether the SDK's types say of every answer what it is like.
    typed = True

    def begin(self):
        http = openai.DefaultHttpxClient(event_hooks=self.hooks)
        self.client = openai.OpenAI(
            base_url=f"{self.url}/v1",
            api_key="sk-none",
            http_client=http,
            _strict_response_validation=self.strict and self.typed,
        )
        self.messages = [{"role": "user", "content": self.wish}]


class Chat(OpenAI):
    def ask(self):
        function = lambda name: {"name": name, "description": TOOLS[name], "parameters": SCHEMA}
        tools = [{"type": "function", "function": function(name)} for name in TOOLS]
        ask = {"model": MODEL, "messages": self.messages, "tools": tools}
        if self.stream:
            with self.client.chat.completions.stream(
                **ask, stream_options={"include_usage": True}
            ) as events:
                for _ in self.seen.pieces(events):
                    pass
                answer = events.get_final_completion()
        else:
            answer = self.client.chat.completions.create(**ask)
        message = answer.choices[0].message
        self.answered(answer.id, message.content)
        self.messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
        calls = message.tool_calls or []
        return [(it.id, it.function.name, json.loads(it.function.arguments)) for it in calls]

    def tell(self, results):
        for call_id, _, _, result in results:
            self.messages.append({"role": "tool", "tool_call_id": call_id, "content": result})


class Responses(OpenAI):
    def ask(self):
        function = lambda name: {"name": name, "description": TOOLS[name], "parameters": SCHEMA}
        tools = [{"type": "function", **function(name), "strict": False} for name in TOOLS]
        answer = self.respond({"model": MODEL, "instructions": SYSTEM, "tools": tools})
        self.answered(answer.id, answer.output_text)
        calls = [item for item in answer.output if item.type == "function_call"]
        return [(it.call_id, it.name, json.loads(it.arguments)) for it in calls]

    def respond(self, ask):
        answer = self.create({**ask, "input": self.messages, "store": False})
        self.messages += [item.model_dump(exclude_none=True) for item in answer.output]
        return answer

    def create(self, ask):
        if not self.stream:
            return self.client.responses.create(**ask)
        for event in self.seen.pieces(self.client.responses.create(**ask, stream=True)):
            last = event
        return last.response

    def tell(self, results):
        for call_id, _, _, result in results:
            output = {"type": "function_call_output", "call_id": call_id, "output": result}
            self.messages.append(output)


class StoredResponses(Responses):
    """The server keeps the conversation: each request has what is new."""

    last = None

    def respond(self, ask):
        before = {"previous_response_id": self.last} if self.last else {}
        answer = self.create({**ask, **before, "input": self.messages})
        self.last, self.messages = answer.id, []
        return answer


class Completions(OpenAI):
    # Its pieces have no reason why they end, and the SDK's types ask for one.
    typed = False

    def ask(self):
        ask = {"model": MODEL, "prompt": self.wish, "max_tokens": 100}
        if not self.stream:
            answer = self.client.completions.create(**ask)
            return self.answered(answer.id, answer.choices[0].text)
        text, options = "", {"include_usage": True}
        answer = self.client.completions.create(**ask, stream=True, stream_options=options)
        for piece in self.seen.pieces(answer):
            text += "".join(choice.text for choice in piece.choices)
        self.answered(piece.id, text)


class Embeddings(OpenAI):
    # The SDK asks for bytes, which its types take for a list.
    typed = False

    def ask(self):
        answer = self.client.embeddings.create(model=MODEL, input=self.wish)
        self.answered(None, str(answer.data[0].embedding))


class Anthropic(Case):
    def begin(self):
        http = anthropic.DefaultHttpxClient(event_hooks=self.hooks)
        self.client = anthropic.Anthropic(
            base_url=self.url,
            api_key="sk-none",
            http_client=http,
            _strict_response_validation=self.strict,
        )
        self.messages = [{"role": "user", "content": self.wish}]
        tool = lambda name: {"name": name, "description": TOOLS[name], "input_schema": SCHEMA}
        tools = [tool(name) for name in TOOLS]
        system = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
        self.request = {"model": MODEL, "system": system, "tools": tools}

    def ask(self):
        ask = {**self.request, "max_tokens": 1000, "messages": self.messages}
        if self.stream:
            with self.client.messages.stream(**ask) as events:
                for _ in self.seen.pieces(events):
                    pass
                answer = events.get_final_message()
        else:
            answer = self.client.messages.create(**ask)
        self.messages.append({"role": "assistant", "content": answer.content})
        texts = [block.text for block in answer.content if block.type == "text"]
        self.answered(answer.id, "".join(texts))
        calls = [block for block in answer.content if block.type == "tool_use"]
        return [(call.id, call.name, call.input) for call in calls]

    def tell(self, results):
        result = lambda it: {"type": "tool_result", "tool_use_id": it[0], "content": it[3]}
        self.messages.append({"role": "user", "content": [result(it) for it in results]})


class CountTokens(Anthropic):
    def ask(self):
        answer = self.client.messages.count_tokens(**self.request, messages=self.messages)
        self.answered(None, str(answer.input_tokens))


class Gemini(Case):
    def begin(self):
        self.client = google.genai.Client(
            api_key="none",
            http_options={"base_url": self.url, "client_args": {"event_hooks": self.hooks}},
        )
        types = google.genai.types
        function = lambda name: {
            "name": name,
            "description": TOOLS[name],
            "parameters_json_schema": SCHEMA,
        }
        self.config = types.GenerateContentConfig(
            system_instruction=SYSTEM,
            tools=[{"function_declarations": [function(name) for name in TOOLS]}],
            automatic_function_calling={"disable": True},
        )
        self.contents = [types.Content(role="user", parts=[{"text": self.wish}])]

    def ask(self):
        ask = {"model": MODEL, "contents": self.contents, "config": self.config}
        parts = []
        if self.stream:
            for answer in self.seen.pieces(self.client.models.generate_content_stream(**ask)):
                parts += answer.candidates[0].content.parts
        else:
            answer = self.client.models.generate_content(**ask)
            parts = answer.candidates[0].content.parts
        self.contents.append(google.genai.types.Content(role="model", parts=parts))
        text = "".join(part.text for part in parts if part.text and not part.thought)
        self.answered(answer.response_id, text)
        calls = [part.function_call for part in parts if part.function_call]
        return [(call.id, call.name, call.args) for call in calls]

    def tell(self, results):
        response = lambda it: {"id": it[0], "name": it[1], "response": {"output": it[3]}}
        parts = [{"function_response": response(it)} for it in results]
        self.contents.append(google.genai.types.Content(role="user", parts=parts))


class GeminiArray(Case):
    """What curl and other clients without an SDK get: a stream that is one array."""

    def begin(self):
        self.client = httpx.Client(event_hooks=self.hooks)

    def ask(self):
        url = f"{self.url}/v1beta/models/{MODEL}:streamGenerateContent"
        body = {"contents": [{"role": "user", "parts": [{"text": self.wish}]}]}
        whole = b""
        with self.client.stream("POST", url, json=body) as answer:
            for piece in self.seen.pieces(answer.iter_bytes()):
                whole += piece
        parts = json.loads(whole)
        if answer.status_code != 200 or "error" in parts[-1]:
            raise RuntimeError(whole)
        spoken = [part["candidates"][0]["content"]["parts"][0] for part in parts]
        text = "".join(part["text"] for part in spoken if not part.get("thought"))
        self.answered(parts[-1]["responseId"], text)


class GeminiCount(Gemini):
    def ask(self):
        answer = self.client.models.count_tokens(model=MODEL, contents=self.contents)
        self.answered(None, str(answer.total_tokens))


class Files(OpenAI):
    """An API whose cost nobody can tell beforehand, as is that of the next two."""

    def ask(self):
        file = ("wish.txt", self.wish.encode())
        self.answered(None, self.client.files.create(file=file, purpose="user_data").id)


class Batches(Anthropic):
    def ask(self):
        params = {"model": MODEL, "max_tokens": 100, "messages": self.messages}
        request = {"custom_id": "one", "params": params}
        self.answered(None, self.client.messages.batches.create(requests=[request]).id)


class GeminiFiles(Gemini):
    def ask(self):
        file, config = io.BytesIO(self.wish.encode()), {"mime_type": "text/plain"}
        self.answered(None, self.client.files.upload(file=file, config=config).name)


class Ollama(Case):
    def begin(self):
        self.client = ollama.Client(self.url, event_hooks=self.hooks)
        self.messages = [{"role": "system", "content": SYSTEM}]
        self.messages.append({"role": "user", "content": self.wish})

    def ask(self):
        function = lambda name: {"name": name, "description": TOOLS[name], "parameters": SCHEMA}
        tools = [{"type": "function", "function": function(name)} for name in TOOLS]
        ask = {"model": MODEL, "messages": self.messages, "tools": tools}
        answer = self.client.chat(**ask, stream=self.stream)
        text, calls = "", []
        for piece in self.seen.pieces(answer) if self.stream else [answer]:
            text += piece.message.content or ""
            calls += piece.message.tool_calls or []
        self.messages.append({"role": "assistant", "content": text, "tool_calls": calls})
        self.answered(None, text)
        return [(None, call.function.name, call.function.arguments) for call in calls]

    def tell(self, results):
        for _, name, _, result in results:
            self.messages.append({"role": "tool", "tool_name": name, "content": result})


class OllamaGenerate(Ollama):
    def ask(self):
        answer = self.client.generate(model=MODEL, prompt=self.wish, stream=self.stream)
        pieces = self.seen.pieces(answer) if self.stream else [answer]
        self.answered(None, "".join(piece.response for piece in pieces))


class Mcp(Case):
    """A session with a tool server: what it offers, a tool that works and one that does not."""

    path, mode, place = "/mcp", "legacy", 0

    @classmethod
    def server(cls, args):
        return f"http://127.0.0.1:{args.tools[cls.place]}{cls.path}"

    def begin(self):
        pass

    def run(self):
        anyio.run(self.talk)

    def http(self, *args, **kwargs):
        client = mcp.shared._httpx_utils.create_mcp_http_client(*args, **kwargs)
        client.event_hooks = {"request": [self.attempted, self.double_calls]}
        return client

    async def attempted(self, request):
        """Of what may be cut, only that counts."""
        if not self.stream or b'"tools/call"' in request.content:
            self.seen.attempted()

    async def double_calls(self, request):
        if self.doubles and b'"tools/call"' in request.content:
            doubled(request)

    def transport(self):
        return mcp.client.streamable_http.streamable_http_client(
            self.url, http_client=self.http()
        )

    async def talk(self):
        async with mcp.Client(self.transport(), mode=self.mode) as client:
            if self.stream:
                return await self.dig(client)
            tools = await client.list_tools()
            self.seen.texts.append(" ".join(tool.name for tool in tools.tools))
            for name in ["search", "broken"]:
                result = await client.call_tool(
                    name, {"query": self.wish}, read_timeout_seconds=TOO_LONG
                )
                self.seen.calls.append([None, name])
                self.seen.texts.append(f"{result.is_error}: {result.content[0].text}")
            try:
                await client.read_resource("archive://nothing")
            except mcp.MCPError as error:
                self.seen.texts.append(f"{error.error.code}: {error}")


    async def dig(self, client):
        """A tool that tells of its progress, and of nothing else."""

        async def progressed(*_):
            self.seen.say(event="streaming")

        result = await client.call_tool("dig", {"query": self.wish}, progress_callback=progressed)
        self.seen.texts.append(f"{result.is_error}: {result.content[0].text}")


class ModernMcp(Mcp):
    """Without a handshake, as from revision 2026-07-28 on."""

    mode, place = "2026-07-28", 1


class SseMcp(Mcp):
    """The transport before streamable HTTP: answers come in a stream of their own."""

    path, place = "/sse", 2

    def transport(self):
        return mcp.client.sse.sse_client(self.url, httpx_client_factory=self.http)


CASES = {
    "openai-chat": Chat,
    "openai-responses": Responses,
    "openai-stored-responses": StoredResponses,
    "openai-completions": Completions,
    "openai-embeddings": Embeddings,
    "openai-files": Files,
    "anthropic-batches": Batches,
    "genai-files": GeminiFiles,
    "anthropic-messages": Anthropic,
    "anthropic-count-tokens": CountTokens,
    "genai": Gemini,
    "genai-count-tokens": GeminiCount,
    "httpx-gemini-array": GeminiArray,
    "ollama-chat": Ollama,
    "ollama-generate": OllamaGenerate,
    "mcp": Mcp,
    "mcp-modern": ModernMcp,
    "mcp-sse": SseMcp,
}
STREAM = "-stream"


def run(args, name):
    seen = Seen(name, args)
    wish = f"What does the archive hold? [tag={name} {args.script}]"
    try:
        case = CASES[name.removesuffix(STREAM)]
        url = case.server(args) if issubclass(case, Mcp) else args.server
        case(url, seen, wish, name.endswith(STREAM), args).run()
    except BaseException as error:  # whatever the client sees is what we are here to report
        seen.failed(error)
    seen.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", required=True, help="the URL of the model server")
    parser.add_argument("--tools", type=int, nargs=3, help="the ports of the tool server, here")
    parser.add_argument("--script", default="", help="more words for the model server")
    parser.add_argument("--strict", action="store_true", help="compare answers with their types")
    parser.add_argument("--double", action="store_true", help="say something twice in each body")
    parser.add_argument("cases", nargs="+", help="with -stream for a stream")
    args = parser.parse_args()

    threads = [threading.Thread(target=run, args=(args, case)) for case in args.cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


main()
