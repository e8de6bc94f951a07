"""Performs the tasks of ``quorate conform``: docs/protocol.md, section Conformance.

    quorate conform --exec "python -m tests.conformance full"
"""

from __future__ import annotations

import asyncio
import os
import sys

from quorate import (
    Client,
    Closed,
    CodecMismatch,
    Counter,
    Map,
    Queue,
    QuorateError,
    Semaphore,
    SessionLost,
    Unavailable,
)


async def perform(client: Client, task: str, *words: str) -> str:
    """The reply to a task that has a result, ``none`` if there is none to have."""
    name, rest = words[0], words[1:]
    match task, rest:
        case "add", [delta]:
            return f"ok {await Counter(client, name).add(int(delta))}"
        case "add-many", [delta, times, at_once]:
            counter, sums = Counter(client, name), [0]

            async def add(first: int) -> None:
                for _ in range(first, int(times), int(at_once)):
                    sums.append(await counter.add(int(delta)))

            async with asyncio.TaskGroup() as group:
                for first in range(int(at_once)):
                    group.create_task(add(first))
            return f"ok {max(sums)}"
        case "get", []:
            return f"ok {await Counter(client, name).get()}"
        case "put", [key, value]:
            m: Map[str, str] = Map(client, name)
            await m.put(key, value)
            return "ok"
        case "look-up", [key]:
            entries: Map[str, str] = Map(client, name)
            found = await entries.get(key)
            return "none" if found is None else f"ok {found}"
        case "offer", [value]:
            q: Queue[str] = Queue(client, name)
            return "ok" if await q.offer(value) else "none"
        case "take", [ms]:
            q = Queue(client, name)
            taken = await q.take(int(ms) / 1000 or None)
            return "none" if taken is None else f"ok {taken}"
        case "give-up", [ms]:
            q = Queue(client, name)
            try:
                async with asyncio.timeout(int(ms) / 1000):
                    return f"ok {await q.take()}"
            except TimeoutError:
                return "none"
        case "hold", [ms]:
            held = await Semaphore(client, name).acquire()
            assert held is not None
            await asyncio.wait({held.lost}, timeout=int(ms) / 1000)
            if held.lost.done():
                return f"lost {held.lost.result()}"
            await held.release()
            return "ok"
    return "failed not a task"


async def reply(client: Client, line: str) -> str:
    try:
        return await perform(client, *line.split(" "))
    except* QuorateError as group:
        e = group.exceptions[0]
        while isinstance(e, ExceptionGroup):
            e = e.exceptions[0]
        text = " ".join(str(e).split())
    assert isinstance(e, QuorateError)
    if e.outcome_unknown:
        return f"unknown {text}"
    if isinstance(e, (Unavailable, CodecMismatch, SessionLost, Closed)):
        return f"failed {text}"
    return f"refused {text}"


async def main(level: str) -> None:
    endpoints = os.environ["QUORATE_ENDPOINTS"].split(",")
    ttl = float(os.environ.get("QUORATE_SESSION_TTL", "10"))
    async with await Client.connect(endpoints, simple=level == "simple", session_ttl=ttl) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(await reply(client, line.rstrip("\n")), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "full"))
