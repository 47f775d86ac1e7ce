#!/usr/bin/env python3
"""Clients of model servers as they are published, each called as its own documentation shows.

They know nothing of a gateway. One says "ready", waits for a line, calls, and prints what it saw as
one line of JSON, to be compared with what the gateway and the model server say.
"""

import argparse
import asyncio
import hashlib
import json
import ssl
import sys

TRIES = 3


def common_name(certificate):
    """The issuer's, of a certificate as ssl.SSLSocket.getpeercert shows it."""
    return dict(pair for part in certificate["issuer"] for pair in part)["commonName"]


class Seen:
    """What the client saw."""

    def __init__(self):
        self.errors, self.tries = [], 0
        self.status = self.version = self.issuer = self.response_id = None
        self.request, self.response = hashlib.sha256(), hashlib.sha256()

    def asked(self, body):
        self.tries += 1
        self.request = hashlib.sha256(body)

    def answered(self, status, version, certificate):
        self.status, self.version = status, version
        self.issuer = certificate and common_name(certificate)
        self.response = hashlib.sha256()

    def text(self, text):
        """The whole body of an answer that nobody else reads."""
        self.response.update(text)
        first = text.removeprefix(b"data: ").split(b"\n\n")[0]
        self.response_id = json.loads(first)["id"]

    def document(self):
        return {
            "status": self.status,
            "version": self.version,
            "issuer": self.issuer,
            "response_id": self.response_id,
            "request_sha256": self.request.hexdigest(),
            "response_sha256": self.response.hexdigest(),
            "tries": self.tries,
            "errors": self.errors,
        }


class Sdk:
    """What the `openai` and `anthropic` SDKs have in common: httpx2, with retries of their own."""

    def __init__(self, url, seen):
        import httpx2

        class Copied(httpx2.SyncByteStream):
            """A body that is hashed while the SDK reads it."""

            def __init__(self, stream):
                self.stream = stream

            def __iter__(self):
                for piece in self.stream:
                    seen.response.update(piece)
                    yield piece

            def close(self):
                self.stream.close()

        def request(request):
            seen.asked(request.read())

        def response(response):
            tls = response.extensions["network_stream"].get_extra_info("ssl_object")
            certificate = tls and tls.getpeercert()
            seen.answered(response.status_code, response.http_version, certificate)
            response.stream = Copied(response.stream)

        self.seen = seen
        self.hooks = {"request": [request], "response": [response]}
        self.client = self.make(url)


class OpenAI(Sdk):
    def make(self, url):
        import openai

        http = openai.DefaultHttpxClient(event_hooks=self.hooks)
        return openai.OpenAI(base_url=f"{url}/v1", api_key="sk-none", http_client=http)

    def call(self, wish, stream):
        messages = [{"role": "user", "content": wish}]
        answer = self.client.chat.completions.create(
            model="scripted-1",
            messages=messages,
            stream=stream,
            **({"stream_options": {"include_usage": True}} if stream else {}),
        )
        for part in answer if stream else [answer]:
            self.seen.response_id = part.id


class Anthropic(Sdk):
    def make(self, url):
        import anthropic

        http = anthropic.DefaultHttpxClient(event_hooks=self.hooks)
        return anthropic.Anthropic(base_url=url, api_key="sk-none", http_client=http)

    def call(self, wish, stream):
        ask = {"model": "scripted-1", "max_tokens": 100}
        ask["messages"] = [{"role": "user", "content": wish}]
        if not stream:
            self.seen.response_id = self.client.messages.create(**ask).id
            return
        with self.client.messages.stream(**ask) as answer:
            self.seen.response_id = answer.get_final_message().id


class Plain:
    """What clients without an SDK have in common: the chat completion is written by hand."""

    def __init__(self, url, seen):
        self.url, self.seen = f"{url}/v1/chat/completions", seen
        self.make()

    def call(self, wish, stream):
        messages = [{"role": "user", "content": wish}]
        ask = {"model": "scripted-1", "messages": messages, "stream": stream}
        # So that in enforce nothing has to be added, and hidden.
        body = json.dumps(ask | ({"stream_options": {"include_usage": True}} if stream else {}))
        for _ in range(TRIES):
            try:
                self.seen.asked(body.encode())
                return self.post(body.encode(), {"content-type": "application/json"})
            except Exception as error:  # whatever the client sees is what we are here to report
                self.seen.errors.append(f"{type(error).__name__}: {error}")


class Httpx(Plain):
    def make(self):
        import httpx

        self.client = httpx.Client(http2=True, verify=self.verify())

    def verify(self):
        return True

    def post(self, body, headers):
        with self.client.stream("POST", self.url, content=body, headers=headers) as answer:
            tls = answer.extensions["network_stream"].get_extra_info("ssl_object")
            certificate = tls and tls.getpeercert()
            self.seen.answered(answer.status_code, answer.http_version, certificate)
            self.seen.text(answer.read())


class StrictHttpx(Httpx):
    """With what ssl.create_default_context does from Python 3.13 on."""

    def verify(self):
        context = ssl.create_default_context()
        context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


class Requests(Plain):
    def make(self):
        import requests

        self.session = requests.Session()

    def post(self, body, headers):
        answer = self.session.post(self.url, data=body, headers=headers, stream=True)
        socket = answer.raw.connection.sock
        certificate = socket.getpeercert() if self.url.startswith("https") else None
        self.seen.answered(answer.status_code, answer.raw.version_string, certificate)
        self.seen.text(answer.content)


class Aiohttp(Plain):
    """Its TLS context is made when it is imported."""

    def make(self):
        import aiohttp

        self.aiohttp = aiohttp

    def post(self, body, headers):
        asyncio.run(self.post_soon(body, headers))

    async def post_soon(self, body, headers):
        certificates = []

        class Connector(self.aiohttp.TCPConnector):
            """Looks at each connection that it hands out."""

            async def connect(self, *args, **kwargs):
                connection = await super().connect(*args, **kwargs)
                certificates.append(connection.transport.get_extra_info("peercert"))
                return connection

        async with self.aiohttp.ClientSession(connector=Connector()) as session:
            async with session.post(self.url, data=body, headers=headers) as answer:
                version = f"HTTP/{answer.version.major}.{answer.version.minor}"
                self.seen.answered(answer.status, version, certificates[-1])
                self.seen.text(await answer.read())


CLIENTS = {
    "openai": OpenAI,
    "anthropic": Anthropic,
    "httpx": Httpx,
    "httpx-strict": StrictHttpx,
    "requests": Requests,
    "aiohttp": Aiohttp,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("url", help="of the server")
    parser.add_argument("wish")
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--held", action="store_true", help="make the client before saying ready")
    args = parser.parse_args()

    seen = Seen()
    make = CLIENTS[args.client]
    client = make(args.url, seen) if args.held else None
    if not args.held:
        __import__(args.client.partition("-")[0])
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        (client or make(args.url, seen)).call(args.wish, args.stream)
    except Exception as error:
        seen.errors.append(f"{type(error).__name__}: {error}")
    print(json.dumps(seen.document()), flush=True)


main()
