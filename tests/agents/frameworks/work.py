"""What every program here has in common: jobs come in on standard input, some of them are under way
at once, and each is one line of JSON on standard output when it is done.
"""

import asyncio
import json
import sys


def read():
    return json.load(sys.stdin)


async def run(order, do):
    """Does all jobs, so many at once: `do` gives the answers that it had to its wishes."""
    free = asyncio.Semaphore(order["at_once"])

    async def one(job):
        async with free:
            try:
                line = {"answers": await do(job)}
            except Exception as error:  # whatever it is: the others go on
                line = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps({"key": job["key"], **line}), flush=True)

    await asyncio.gather(*map(one, order["jobs"]))


def search_documents(query: str) -> str:
    """Search the documents and get the titles that match."""
    return "\n".join(f"{place}. {query.title()}, part {place}" for place in range(1, 4))


def read_document(path: str) -> str:
    """Read a document, given its path."""
    return f"{path}\n\nRevised in March. It has {len(path)} sections, of which two are still open."


def calculate(expression: str) -> str:
    """Work out an arithmetic expression."""
    return f"{expression} = {sum(map(ord, expression)) / 7:.2f}"


INSTRUCTIONS = (
    "You are the assistant of a small research office. Use your tools to find out what you need to "
    "know, hand over what others know better, and answer in a few sentences."
)
RESEARCHER = (
    "You are a researcher. You are given one question; look it up with your tools and say what you "
    "found. Do not ask back."
)
CHECKER = "You check figures and quotations. Say briefly whether what you are given holds."
EDITOR = "You are the editor. Put what is known so far into good order, and answer the user."
