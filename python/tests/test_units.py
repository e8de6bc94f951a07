"""What needs no grid: keys, routing, frames and slots, against the project's vectors."""

from __future__ import annotations

import asyncio
import json
import unittest

import xxhash

from quorate import Invalid, Unsigned, wire
from quorate.keys import CBOR, decode_key, encode_key, encode_value, partition_of
from quorate.protocol import KINDS
from quorate.session import Session
from quorate.slots import Slots
from tests.grid import ROOT


class Vectors(unittest.TestCase):
    def test_routing(self) -> None:
        vectors = json.loads((ROOT / "partition/testdata/vectors.json").read_text())
        self.assertGreater(len(vectors), 10)
        for v in vectors:
            with self.subTest(v):
                key = None if v["key"] is None else bytes.fromhex(v["key"])
                self.assertEqual(partition_of(v["partitions"], v["name"], key), v["of"])
                self.assertEqual(xxhash.xxh64_intdigest(bytes.fromhex(v["hashed"])), int(v["hash"], 16))

    def test_messages(self) -> None:
        """Every golden message is one array, which this package writes with the same
        bytes."""
        lines = (ROOT / "protocol/testdata/golden.txt").read_text().splitlines()
        self.assertGreater(len(lines), 10)
        for line in lines:
            name, _, data = line.rpartition(": ")
            with self.subTest(name):
                message = wire.decode(bytes.fromhex(data))
                self.assertEqual(wire.encode(message).hex(), data)

    def test_bodies(self) -> None:
        """Every golden body and result is one array of an operation that is known,
        which this package writes with the same bytes."""
        lines = (ROOT / "kinds/testdata/bodies.txt").read_text().splitlines()
        found = [line for line in lines if " -> " in line and not line.startswith("#")]
        self.assertGreater(len(found), 50)
        for line in found:
            with self.subTest(line):
                what, _, rest = line.partition(": ")
                body, _, answer = rest.partition(" -> ")
                code, _, result = answer.partition(" ")
                for data in (body, result):
                    if data != "-":
                        item = wire.decode(bytes.fromhex(data))
                        self.assertIsInstance(item, list)
                        self.assertEqual(wire.encode(item).hex(), data)
                name, operation = what.split(" ")
                if name not in ("control", "transaction"):  # these are no structures
                    kind = KINDS[name]
                    self.assertIn(operation, kind.operations)
                    if int(code) >= 1000:
                        self.assertIn(int(code), kind.codes.values())

    def test_numbers(self) -> None:
        ours = (ROOT / "python/quorate/protocol.json").read_text()
        self.assertEqual(ours, (ROOT / "docs/protocol.json").read_text(), "copy docs/protocol.json here")
        self.assertTrue(KINDS["queue"]["take"].waits)

    def test_more_elements(self) -> None:
        """A later version appends elements, an earlier one lacks some."""
        self.assertEqual(wire.Reply.of([4, 1, 0, 2, 3, b"x", "later", [1.5]]).body, b"x")
        self.assertEqual(wire.Reply.of([4, 1]), wire.Reply(1, 0, 0, 0, b""))
        table = wire.Table.of([6, 1, [2], [[2, 7, 3, [3], "later"]], [[3, "n", "a:1", 0]], b"c", 4, {}])
        self.assertEqual(table.groups[2].leader, 3)
        self.assertEqual(wire.Welcome.of([2, 1]).partitions, 0)


class Keys(unittest.TestCase):
    def test_order(self) -> None:
        integers = [-(1 << 63), -1, 0, 1, (1 << 63) - 1]
        self.assertEqual(sorted(map(encode_key, integers)), [encode_key(i) for i in integers])

    def test_round_trip(self) -> None:
        for key in ["", "ada", "grüße", 0, -7, Unsigned(7), b"", b"\x00", ("a", 1), True]:
            with self.subTest(key):
                again = decode_key(encode_key(key))
                self.assertEqual((again, type(again)), (key, type(key)))

    def test_refused(self) -> None:
        for key in [1.5, None, [1], 1 << 63, Unsigned(-1), {"a": 1}]:
            with self.subTest(key), self.assertRaises(Invalid):
                encode_key(key)

    def test_values(self) -> None:
        self.assertEqual(encode_value(CBOR, {"b": 1, "a": 2}), encode_value(CBOR, {"a": 2, "b": 1}))


class SlotTests(unittest.IsolatedAsyncioTestCase):
    async def test_lowest_free(self) -> None:
        s = Slots(3)
        self.assertEqual([await s.acquire() for _ in range(3)], [(0, 1), (1, 1), (2, 1)])
        waiting = asyncio.create_task(s.acquire())
        cancelled = asyncio.create_task(s.acquire())
        await asyncio.sleep(0)
        cancelled.cancel()
        s.release(1)
        self.assertEqual(await waiting, (1, 2))
        s.release(2)
        s.release(0)
        self.assertEqual(await s.acquire(), (0, 2))
        self.assertEqual(s.highest, 2)

    async def test_highest_follows(self) -> None:
        s = Slots(8)
        slots = [(await s.acquire())[0] for _ in range(5)]
        for slot in slots:
            s.release(slot)
        for _ in range(Slots.LOWER_EVERY):
            s.release((await s.acquire())[0])
        self.assertEqual(s.highest, 0)


class SessionTests(unittest.IsolatedAsyncioTestCase):
    async def test_given_up_in_time(self) -> None:
        s = Session(1, ttl=10, margin=0, slots=8, shared=False)
        self.assertLess(s.hold_for, 10 - 10 / 32 - 0.9)
        s.acked = (s.acked[0], s.acked[1] - 3600)  # the machine was suspended for an hour
        await s.watch()
        self.assertTrue(s.lost)
        s.acknowledged((s.acked[0] + 1e9, s.acked[1] + 1e9))
        self.assertTrue(s.lost, "giving up is final")


if __name__ == "__main__":
    unittest.main()
