from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from . import wire
from .client import Client
from .keys import CBOR, Codec, decode_value
from .structure import Structure, milliseconds

T = TypeVar("T")

MANY = 1000  # elements of one request


class Queue(Structure, Generic[T]):
    """A queue, first in, first out."""

    kind_name = "queue"

    def __init__(self, client: Client, name: str, codec: Codec = CBOR) -> None:
        super().__init__(client, name)
        self._codec = codec

    def _read(self, data: bytes) -> Any:
        return decode_value(self._codec, data)

    async def put(self, value: T, wait: float | None = None) -> bool:
        """Puts an element, and waits while the queue is full, as long as ``wait`` if
        it is given. ``False``: there was no room in that time."""
        if wait is not None and wait <= 0:
            return await self.offer(value)
        call = self._call("put", [self._encode_value(self._codec, value), milliseconds(wait)])
        answer, _ = await self._invoke(call, "timed_out")
        return answer == ""

    async def offer(self, value: T) -> bool:
        """Puts an element unless the queue is full."""
        call = self._call("offer", [self._encode_value(self._codec, value)])
        answer, _ = await self._invoke(call, "full")
        return answer == ""

    async def take(self, wait: float | None = None) -> T | None:
        """Takes the first element, and waits for one, as long as ``wait`` if it is
        given. ``None``: none in that time."""
        if wait is not None and wait <= 0:
            return await self.poll()
        call = self._call("take", [milliseconds(wait), self._codec.number])
        call.accept = lambda reply: self._check(reply)
        answer, reply = await self._invoke(call, "timed_out")
        return None if answer else self._read(reply.result()[0])

    def _check(self, reply: wire.Reply) -> None:
        for value in reply.result():
            self._read(value)

    async def poll(self) -> T | None:
        """Takes the first element if there is one."""
        answer, reply = await self._invoke(self._call("poll", [self._codec.number]), "empty")
        return None if answer else self._read(reply.result()[0])

    async def peek(self) -> T | None:
        """The first element, which stays."""
        answer, reply = await self._invoke(self._call("peek", []), "empty")
        return None if answer else self._read(reply.result()[0])

    async def drain(self, most: int = 1000) -> list[T]:
        """Takes up to 1,000 elements at once."""
        return [self._read(v) for v in await self._result("drain", most, self._codec.number)]

    async def clear(self) -> None:
        mark = 0
        while True:
            [mark] = await self._result("clear", mark)
            if not mark:
                return

    async def put_all(self, values: Iterable[T]) -> None:
        """Puts elements in their order, as many at once as there is room for, and
        waits while the queue is full. After an error some may be in the queue."""
        left = [self._encode_value(self._codec, value) for value in values]
        while left:
            some, size = 0, 0
            while some < len(left) and some < MANY:
                size += len(left[some]) + 9
                if some and size > self._client.body_limit // 2:
                    break
                some += 1
            [put] = await self._result("put_all", *left[:some])
            if not put:  # the next one waits in line
                await self._result("put", left[0], 0)
                put = 1
            del left[:put]

    async def take_n(self, most: int, wait: float | None = None) -> list[T]:
        """Takes up to ``most`` elements, 1,000 at most, and waits for the first, as
        long as ``wait`` if it is given. An empty list: none in that time."""
        if wait is not None and wait <= 0:
            return await self.drain(most)
        call = self._call("take_n", [most, milliseconds(wait), self._codec.number])
        call.accept = lambda reply: self._check(reply)
        answer, reply = await self._invoke(call, "timed_out")
        return [] if answer else [self._read(v) for v in reply.result()]
