"""The slots of a session: the identity of each mutation."""

from __future__ import annotations

import asyncio
import heapq
from collections import deque


class Slots:
    """Gives each call in flight the lowest free slot, with a higher sequence at
    each use."""

    LOWER_EVERY = 1024

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._free: list[int] = []  # a heap, of those below len(self._sequence)
        self._sequence: list[int] = []
        self._used: set[int] = set()
        self._line: deque[asyncio.Future[tuple[int, int]]] = deque()
        self._taken = 0
        self.highest = 0

    async def acquire(self) -> tuple[int, int]:
        if not self._free and len(self._sequence) >= self._limit:
            place: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()
            self._line.append(place)
            try:
                return await place
            except asyncio.CancelledError:
                if place.done() and not place.cancelled():
                    self.release(place.result()[0])
                else:
                    self._line.remove(place)
                raise
        if self._free:
            slot = heapq.heappop(self._free)
        else:
            slot = len(self._sequence)
            self._sequence.append(0)
        return self._take(slot)

    def _take(self, slot: int) -> tuple[int, int]:
        self._used.add(slot)
        self._sequence[slot] += 1
        self._taken += 1
        if self._taken % self.LOWER_EVERY == 0:
            self.highest = max(self._used)
        else:
            self.highest = max(self.highest, slot)
        return slot, self._sequence[slot]

    def release(self, slot: int) -> None:
        self._used.discard(slot)
        while self._line:
            place = self._line.popleft()
            if not place.done():
                place.set_result(self._take(slot))
                return
        heapq.heappush(self._free, slot)
