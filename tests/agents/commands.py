#!/usr/bin/env python3
"""An agent that runs the command of each tool call that its model asks for, or another one instead.

usage: commands.py URL WISH [INSTEAD]
"""

import json
import subprocess
import sys
import urllib.request

TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("search", "read")]


def ask(url, messages):
    body = json.dumps({"model": "m", "messages": messages, "tools": TOOLS}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]


def main():
    url, wish, *instead = sys.argv[1:]
    messages = [{"role": "user", "content": wish}]
    while calls := (answer := ask(url, messages)).get("tool_calls"):
        messages.append(answer)
        for call in calls:
            command = [*instead, json.loads(call["function"]["arguments"]).get("command")][0]
            output = subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})
    print(answer["content"])


main()
