#!/usr/bin/env python3
"""Workflows by agents that are command-line programs: Claude Code and Codex. Each session is a process
of its own for each wish; all are one user's, at work on one project.
"""

import asyncio
import json
import os
import pathlib
import sys

import work


def claude(order, job, wish, session):
    words = ["claude", "--print", "--output-format", "json", "--model", "claude-sonnet-4-5"]
    words += ["--allowedTools", "Bash", "Agent", "Task"]
    environment = {"ANTHROPIC_BASE_URL": order["base_url"], "ANTHROPIC_API_KEY": job["key"]}
    return words + (["--resume", session] if session else []) + ["--", wish], environment


def codex(order, job, wish, session):
    words = ["codex", "exec", "--json", "--skip-git-repo-check"]
    provider = f'{{name="office", base_url="{order["base_url"]}/v1", env_key="OFFICE_KEY"}}'
    words += ["--dangerously-bypass-approvals-and-sandbox", "--model", "gpt-5"]
    words += ["-c", 'model_provider="office"', "-c", f"model_providers.office={provider}"]
    words += ["-c", "features.plugins=false", "-c", 'web_search="disabled"']
    return words + (["resume", session] if session else []) + [wish], {"OFFICE_KEY": job["key"]}


def of_claude(text):
    said = json.loads(text)
    return said["session_id"], said["result"]


def of_codex(text):
    events = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    thread = next(event["thread_id"] for event in events if event["type"] == "thread.started")
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return thread, [item["text"] for item in items if item["type"] == "agent_message"][-1]


CLIENTS = {"claude": (claude, of_claude), "codex": (codex, of_codex)}


async def main():
    order = work.read()
    start, read = CLIENTS[sys.argv[1]]
    project = pathlib.Path("/var/tmp/office")
    project.mkdir()

    async def do(job):
        session, answers = None, []
        for wish in job["wishes"]:
            words, environment = start(order, job, wish, session)
            process = await asyncio.create_subprocess_exec(
                *words,
                cwd=project,
                env={"PATH": os.environ["PATH"], "HOME": "/root", **environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            said, complaints = await process.communicate()
            try:
                session, answer = read(said.decode())
            except Exception as error:
                raise RuntimeError(f"{error}: {said.decode()} {complaints.decode()}") from error
            answers.append(answer)
        return answers

    await work.run(order, do)


asyncio.run(main())
