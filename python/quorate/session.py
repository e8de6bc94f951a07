"""The session under which a client's mutations are made."""

from __future__ import annotations

import asyncio
import time

from .slots import Slots


def since(sent: tuple[float, float]) -> float:
    """How much time may have passed: the larger of monotonic and wall time, since
    monotonic time stands still in a machine that is suspended."""
    return max(time.monotonic() - sent[0], time.time() - sent[1])


def now() -> tuple[float, float]:
    return time.monotonic(), time.time()


class Session:
    """One session at the grid. ``gone`` is done when it is given up or has ended:
    before anyone else can be granted what it holds."""

    def __init__(self, id: int, ttl: float, margin: float, slots: int, shared: bool) -> None:
        self.id, self.ttl = id, ttl
        self.margin = min(max(ttl / 10, 0.5, margin), ttl / 2)  # that a holder has to stop
        self.hold_for = ttl - ttl / 32 - self.margin
        self.ended = False  # a member said so
        self.acked = now()
        self.gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._limit, self._shared = slots, shared
        self._slots: dict[int, Slots] = {}

    def slots(self, partition: int) -> Slots:
        """The slots of a partition; of all, if the member routes."""
        at = 0 if self._shared else partition
        if at not in self._slots:
            self._slots[at] = Slots(self._limit)
        return self._slots[at]

    @property
    def lost(self) -> bool:
        return self.gone.done()

    def acknowledged(self, sent: tuple[float, float]) -> None:
        """Counts a heartbeat from its sending. Giving up is final."""
        if not self.lost and sent > self.acked:
            self.acked = sent

    def lose(self, why: str) -> None:
        if not self.gone.done():
            self.gone.set_result(why)

    def end(self) -> None:
        self.ended = True
        self.lose("the session has ended at the grid")

    async def watch(self) -> None:
        """Gives up in time, and looks often: a timer alone would fire late in a
        machine that was suspended."""
        while not self.lost:
            left = self.hold_for - since(self.acked)
            if left <= 0:
                self.lose("no heartbeat was acknowledged in time")
                return
            await asyncio.wait({self.gone}, timeout=min(left, 0.25))
