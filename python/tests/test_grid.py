"""The client against real members."""

from __future__ import annotations

import asyncio
import json
import random
import unittest
from datetime import datetime, timezone

import quorate
from quorate import Client, Counter, Map, Queue, Semaphore, Unsigned
from tests.grid import Grid


class Structures(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.grid = await self.enterAsyncContext(Grid())
        self.client = await self.enterAsyncContext(await Client.connect(self.grid.addresses))
        self.simple = await self.enterAsyncContext(
            await Client.connect(self.grid.addresses, simple=True)
        )

    async def test_all(self) -> None:
        # One grid serves all of them: starting one takes the longest.
        for level, client in (("full", self.client), ("simple", self.simple)):
            with self.subTest("map", level=level):
                await self.map(client, f"map-{level}")
            with self.subTest("counter", level=level):
                await self.counter(client, f"counter-{level}")
            with self.subTest("queue", level=level):
                await self.queue(client, f"queue-{level}")
        with self.subTest("semaphore"):
            await self.semaphore(self.client, "semaphore")
        with self.subTest("held by a client that does not count its session"):
            s: Semaphore = Semaphore(self.simple, "refused")
            await s.init(1)
            with self.assertRaisesRegex(quorate.Invalid, "session"):
                await s.acquire(1)
        with self.subTest("command line"):
            await self.command_line(self.client)
        with self.subTest("Go client"):
            await self.go_client(self.client)

    async def map(self, client: Client, name: str) -> None:
        m: Map[str, object] = Map(client, name)
        self.assertIsNone(await m.get("ada"))
        await m.put("ada", {"born": 1815})
        self.assertEqual(await m.get("ada"), {"born": 1815})
        self.assertEqual(await m.swap("ada", 1), {"born": 1815})
        self.assertEqual(await m.put_if_absent("ada", 2), 1)
        self.assertIsNone(await m.put_if_absent("bob", 2))
        self.assertEqual(await m.add("ada", 41), 42)
        entry = await m.entry("ada")
        assert entry is not None
        version = await m.replace("ada", entry.version, 43)
        self.assertGreater(version, entry.version)
        with self.assertRaises(quorate.Conflict) as refused:
            await m.replace("ada", entry.version, 44)
        self.assertTrue(refused.exception.safe_to_retry)
        with self.assertRaises(quorate.Conflict):
            await m.delete_version("ada", entry.version)
        await m.put("text", "x")
        with self.assertRaises(quorate.NotInteger):
            await m.add("text")
        with self.assertRaises(quorate.Overflow):
            await m.add("ada", (1 << 63) - 1)
        self.assertTrue(await m.set_ttl("ada", 60))
        entry = await m.entry("ada")
        assert entry is not None and entry.left is not None
        self.assertLessEqual(entry.left, 60)
        many: dict[str, object] = {f"k{i}": i for i in range(300)}
        await m.put_all(many)
        self.assertEqual(await m.get_all([*many, "absent"]), many)
        self.assertEqual(await m.length(), 303)
        found = {e.key: e.value async for e in m.items()}
        self.assertEqual({k: found[k] for k in many}, many)
        self.assertEqual({k async for k in m.keys()}, set(found))
        self.assertEqual(await m.delete_all(f"k{i}" for i in range(100)), 100)
        self.assertEqual(await m.remove("bob"), 2)
        self.assertFalse(await m.delete("bob"))
        await m.clear()
        self.assertEqual(await m.length(), 0)
        await m.configure(ttl=3600)
        await m.configure(ttl=3600)
        self.assertEqual(await m.settings(), {"keep-old": 0, "ttl": 3600})
        with self.assertRaises(quorate.SettingsMismatch):
            await m.configure(ttl=60)
        with self.assertRaises(quorate.Invalid):
            await m.configure(capacity=60)
        await m.destroy()
        with self.assertRaises(quorate.TooLarge):
            await m.put("large", "x" * (2 << 20))
        with self.assertRaises(quorate.Invalid):
            bad: Map[str, object] = Map(client, "a\nb")
            await bad.get("x")

    async def counter(self, client: Client, name: str) -> None:
        n = Counter(client, name)
        self.assertEqual(await n.get(), 0)
        self.assertEqual(await n.add(5), 5)
        self.assertTrue(await n.compare_and_set(5, 7))
        self.assertFalse(await n.compare_and_set(5, 8))
        await n.set((1 << 63) - 1)
        with self.assertRaises(quorate.Overflow):
            await n.add(1)
        await n.destroy()
        self.assertEqual(await n.get(), 0)

    async def queue(self, client: Client, name: str) -> None:
        q: Queue[object] = Queue(client, name)
        self.assertIsNone(await q.poll())
        self.assertIsNone(await q.take(wait=0.2))
        taking = asyncio.create_task(q.take())
        await asyncio.sleep(0.2)
        await q.put({"job": 1})
        self.assertEqual(await taking, {"job": 1})
        cancelled = asyncio.create_task(q.take())
        await asyncio.sleep(0.2)
        cancelled.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await cancelled
        await q.configure(capacity=3000)
        self.assertTrue(await q.offer("a"))
        await q.put_all(["b", "c"])
        self.assertEqual(await q.peek(), "a")
        self.assertEqual(await q.length(), 3)
        with self.assertRaises(quorate.CodecMismatch):
            other: Queue[object] = Queue(client, name, quorate.JSON)
            await other.poll()
        self.assertEqual(await q.poll(), "a")
        self.assertEqual(await q.drain(), ["b", "c"])
        await q.put_all(range(2500))
        self.assertEqual(await q.take_n(1000), list(range(1000)))
        self.assertEqual(len(await q.take_n(1000, wait=0)), 1000)
        await q.clear()
        several = asyncio.create_task(q.take_n(10, wait=5))
        await asyncio.sleep(0.2)
        await q.put_all(["d", "e"])
        first = await several
        self.assertEqual(first + await q.drain(), ["d", "e"])
        self.assertEqual(await q.take_n(10, wait=0.2), [])
        await q.destroy()

    async def semaphore(self, client: Client, name: str) -> None:
        s = Semaphore(client, name)
        with self.assertRaises(quorate.NotInitialized):
            await s.acquire(1)
        await s.init(2)
        with self.assertRaises(quorate.SettingsMismatch):
            await s.init(3)
        with self.assertRaises(quorate.TooMany):
            await s.acquire(3)
        first = await s.acquire(2)
        assert first is not None
        self.assertIsNone(await s.acquire(1, wait=0))
        self.assertIsNone(await s.acquire(1, wait=0.2))
        waiting = asyncio.create_task(s.acquire(1))
        await asyncio.sleep(0.2)
        await first.release()
        second = await waiting
        assert second is not None
        self.assertGreater(second.token, first.token)
        async with second:
            self.assertEqual(await s.available(), 1)
        self.assertEqual(await s.available(), 2)
        # What is revoked is lost to its holder before another has it.
        taken = await s.acquire(2)
        assert taken is not None
        waiting = asyncio.create_task(s.acquire(1))
        await self.grid.quorate("revoke", "semaphore", name, str(taken.id), "--grace", "1ms")
        self.assertIn("revoked", await asyncio.wait_for(taken.lost, 30))
        self.assertFalse(waiting.done())
        next_ = await waiting
        assert next_ is not None
        self.assertGreater(next_.token, taken.token)
        await next_.release()
        # What a client holds returns with its session.
        async with await Client.connect(self.grid.addresses, session_ttl=2) as other:
            self.assertIsNotNone(await Semaphore(other, name).acquire(2))
        self.assertIsNotNone(await s.acquire(2))

    async def command_line(self, client: Client) -> None:
        m: Map[str, object] = Map(client, "shared")
        await m.put("python", {"n": 1, "text": "grüße", "list": [1, 2.5, None, True]})
        out = await self.grid.quorate("map", "get", "shared", "python")
        self.assertEqual(json.loads(out), {"n": 1, "text": "grüße", "list": [1, 2.5, None, True]})
        await self.grid.quorate("map", "put", "shared", "go", '{"n": 2, "text": "x"}')
        self.assertEqual(await m.get("go"), {"n": 2, "text": "x"})
        await self.grid.quorate("counter", "add", "both", "3")
        self.assertEqual(await Counter(client, "both").add(4), 7)
        self.assertEqual((await self.grid.quorate("counter", "get", "both")).strip(), "7")
        await self.grid.quorate("queue", "put", "jobs", "one")
        jobs: Queue[str] = Queue(client, "jobs")
        self.assertEqual(await jobs.take(), "one")
        await jobs.put("two")
        self.assertEqual((await self.grid.quorate("queue", "take", "jobs")).strip(), "two")
        ints: Map[int, str] = Map(client, "ints")
        await ints.put(-7, "seven")
        out = await self.grid.quorate("map", "get", "ints", "--int-key", "--", "-7")
        self.assertEqual(out.strip(), "seven")

    async def go_client(self, client: Client) -> None:
        ada = {
            "Name": "Ada",
            "Born": 1815,
            "Tags": ["first", "programmer"],
            "Score": 1.5,
            "Since": datetime(2024, 2, 29, 12, 30, 15, 123456, timezone.utc),
        }
        users: Map[str, object] = Map(client, "interop-users")
        ints: Map[int, str] = Map(client, "interop-ints")
        unsigned: Map[Unsigned, bytes] = Map(client, "interop-unsigned")
        jobs: Queue[object] = Queue(client, "interop-jobs")
        hits = Counter(client, "interop-hits")
        await self.grid.go_program("./python/tests/interop", "write")
        self.assertEqual(await users.get("ada"), ada)
        self.assertEqual(await ints.get(-5), "five")
        self.assertEqual(await unsigned.get(Unsigned(5)), b"\x00\xff")
        self.assertEqual([e async for e in ints.keys()], [-5])
        self.assertEqual(await jobs.take(), ada)
        self.assertEqual(await hits.add(2), 42)
        await users.put("python", ada)
        await ints.put(7, "seven")
        await unsigned.put(Unsigned(7), b"\x01\x02")
        await jobs.put(ada)
        await self.grid.go_program("./python/tests/interop", "read")


class ExactlyOnce(unittest.IsolatedAsyncioTestCase):
    """Connections are cut and a leader is killed while many tasks add: each add
    counts once. An add whose outcome is unknown may count or not."""

    ADDS, TASKS = 20_000, 64

    async def asyncSetUp(self) -> None:
        asyncio.get_running_loop().set_debug(False)  # which reports each slow step

    async def test_full(self) -> None:
        await self.run_with(simple=False)

    async def test_simple(self) -> None:
        await self.run_with(simple=True)

    async def run_with(self, simple: bool) -> None:
        seed = random.randrange(1 << 32)
        print(f"seed {seed}", flush=True)
        chance = random.Random(seed)
        async with Grid() as grid:
            clients = [
                await Client.connect(
                    grid.addresses[i % 3 :] + grid.addresses[: i % 3],
                    simple=simple,
                    operation_timeout=60,
                )
                for i in range(4)
            ]
            done = unknown = 0
            left = self.ADDS

            async def add(client: Client) -> None:
                nonlocal done, unknown, left
                while left > 0:
                    left -= 1
                    try:
                        await Counter(client, "exact").add(1)
                        done += 1
                    except quorate.QuorateError as e:
                        if e.outcome_unknown:
                            unknown += 1
                        else:
                            left += 1

            async def cut() -> None:
                while True:
                    await asyncio.sleep(chance.uniform(0.02, 0.2))
                    connections = [
                        c for client in clients for c in client._connections.values() if c.usable
                    ]
                    if connections:
                        chance.choice(connections)._writer.transport.abort()

            async def kill() -> None:
                while left > self.ADDS // 2:
                    await asyncio.sleep(0.05)
                full = await Client.connect(grid.addresses)
                leader = grid.leader(full._table, full.partition("exact"))
                await full.close()
                grid.kill(leader)
                await asyncio.sleep(1)
                grid.start(leader)

            cutting = asyncio.create_task(cut())
            killing = asyncio.create_task(kill())
            await asyncio.gather(*(add(clients[i % 4]) for i in range(self.TASKS)))
            cutting.cancel()
            await killing
            await grid.ready()
            total = await Counter(clients[0], "exact").get()
            print(f"{done} acknowledged, {unknown} unknown, counted {total}", flush=True)
            self.assertGreaterEqual(total, done)
            self.assertLessEqual(total, done + unknown)
            self.assertEqual(unknown, 0, "with a minute for each call none is unknown")
            self.assertEqual(total, self.ADDS)
            for client in clients:
                await client.close()


if __name__ == "__main__":
    unittest.main()
