from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from . import wire
from .errors import QuorateError
from .session import Session
from .structure import Structure, milliseconds


ASKED, REVOKED, ACKNOWLEDGED, GONE = 1, 2, 3, 4  # marks of a hold


class Held:
    """What a session holds.

    ``lost`` is done, with the reason, before anyone else can be granted it: the
    session has ended, or somebody has revoked the hold. Whoever protects something
    from an older holder compares tokens. ``asked`` is done when somebody asks for
    it, who does not take it away.
    """

    def __init__(self, semaphore: "Semaphore", session: Session, id: int, token: int) -> None:
        loop = asyncio.get_running_loop()
        self._semaphore, self._session = semaphore, session
        self.id, self.token = id, token
        self.lost: asyncio.Future[str] = loop.create_future()
        self.asked: asyncio.Future[str] = loop.create_future()
        self._watching = semaphore._client._spawn(self._watch())

    async def release(self) -> None:
        """Gives it back, under the session that holds it."""
        self._watching.cancel()
        await self._semaphore._release(self._session, self.id)

    async def __aenter__(self) -> "Held":
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session.lost:
            self._watching.cancel()
        elif not self.lost.done():
            await self.release()

    def _lose(self, why: str) -> None:
        if not self.lost.done():
            self.lost.set_result(why)

    async def _watch(self) -> None:
        """Asks what has become of the hold until it is known to be over."""
        session = self._session
        every = max(session.ttl / 5, 1.0)
        pause = 1.0
        while True:
            await asyncio.wait({session.gone}, timeout=pause)
            pause = every
            if session.lost:
                self._lose(session.gone.result())
                return
            try:
                mark, reason = await self._semaphore._result("hold_state", self.id)
            except QuorateError:
                continue
            if mark == ASKED and not self.asked.done():
                self.asked.set_result(reason)
            if mark in (REVOKED, ACKNOWLEDGED, GONE):
                self._lose(f"revoked: {reason}" if mark != GONE else "it is not held any more")
            if mark == REVOKED:
                # The next may be granted once this is acknowledged: whoever works
                # with the hold has the time to stop that the loss of a session leaves.
                await asyncio.sleep(session.margin)
                await self._acknowledge()
            if mark in (REVOKED, ACKNOWLEDGED, GONE):
                return

    async def _acknowledge(self) -> None:
        while not self._session.lost:
            call = self._semaphore._call("acknowledge", [self.id])
            call.session = self._session
            try:
                await self._semaphore._invoke(call)
                return
            except QuorateError:
                await asyncio.sleep(0.5)


class Semaphore(Structure):
    """A semaphore. What is held of it returns by release, or with the session."""

    kind_name = "semaphore"

    async def init(self, permits: int) -> None:
        await self._result("init", permits)

    async def acquire(self, permits: int = 1, wait: float | None = None, note: str = "") -> Held | None:
        """Waits for permits, as long as ``wait`` if it is given. ``None``: not in
        that time. ``note`` says who holds them and what for."""
        if wait is not None and wait <= 0:
            call = self._call("try_acquire", [permits, note])
        else:
            call = self._call("acquire", [permits, milliseconds(wait), note])
        call.late = self._late
        answer, reply = await self._invoke(call, "timed_out", "none")
        if answer:
            return None
        id, token = reply.result()
        assert call.holder is not None
        return Held(self, call.holder, id, token)

    @asynccontextmanager
    async def holding(self, permits: int = 1) -> AsyncIterator[Held]:
        held = await self.acquire(permits)
        assert held is not None
        async with held:
            yield held

    async def available(self) -> int:
        return int((await self._result("available"))[0])

    async def drain(self) -> int:
        return int((await self._result("drain"))[0])

    async def add_permits(self, permits: int) -> None:
        await self._result("add_permits", permits)

    async def _release(self, session: Session, id: int) -> None:
        call = self._call("release", [id])
        call.session = session
        await self._invoke(call)

    async def _late(self, reply: wire.Reply, session: Session) -> None:
        id, _ = reply.result()
        try:
            await self._release(session, id)
        except QuorateError:
            pass  # it returns with the session
