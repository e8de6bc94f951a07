"""A client of a grid."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from . import wire
from .connection import Connection, Lost
from .errors import (
    BY_CODE,
    Closed,
    Invalid,
    MemoryFull,
    Overloaded,
    QuorateError,
    ReadOnly,
    ReplyDropped,
    SessionLost,
    TooLarge,
    Unavailable,
    Unsupported,
)
from .router import (
    NO_LEADER,
    OK,
    SESSION_ENDED,
    UNKNOWN,
    Router,
    backoff,
    clock,
)
from .session import Session
from .slots import Slots

READ, STALE, WAIT, REPEAT = 1, 2, 4, 8  # flags of a request
CONTROL, CANCEL, CONFIRM = 0, 1, 2
REPLY_DROPPED = 21
CANCELLED, TIMED_OUT, RESERVED, OWN = 44, 45, 60, 1000

REPEAT_EVERY = 5.0  # of a waiting call
WITHDRAW_TIME = 2.0  # that a caller waits for the answer to a cancel
FULL_FOR = 1.0  # that a call is repeated at a group short of memory or disk
WAITING_OF_ONE, WAITING_IN_PARTITION = 256, 768


@dataclass
class Call:
    """One operation of one structure."""

    kind: int
    op: int
    name: str
    verb: str  # for errors
    body: bytes
    partition: int
    read: bool = False
    stale: bool = False
    waits: bool = False
    # With what was granted to a call whose caller does not have it, and the
    # session that holds it, so that it is given back.
    late: Callable[[wire.Reply, Session], Awaitable[None]] | None = None
    # What is reserved for a waiting call may be refused: an error gives it back.
    accept: Callable[[wire.Reply], None] | None = None
    session: Session | None = None  # under which the call must be made
    holder: Session | None = None  # set when it is answered: under which it was made


@dataclass
class _Flight:
    """A call, its identity, and what is known of its attempts."""

    call: Call
    flags: int
    control: bool = False
    session: Session | None = None
    slots: Slots | None = None
    slot: int = 0
    sequence: int = 0
    sent: bool = False  # under this identity
    unsettled: bool = False  # an attempt may have entered and was not answered
    tries: int = 0
    last: str = ""
    busy: bool = False  # the last attempt was refused as too much
    full_since: float | None = None

    @property
    def mutates(self) -> bool:
        return not self.call.read

    def error(self, kind: type[QuorateError], text: str = "", code: int = 0) -> QuorateError:
        return kind(
            text or self.last,
            operation=f"{self.call.verb} {self.call.name}",
            code=code,
            outcome_unknown=self.mutates and self.unsettled,
        )

    def release(self) -> None:
        if self.slots is not None:
            self.slots.release(self.slot)
            self.slots = None


class Client(Router):
    """A client of a grid, for one event loop.

    By default it knows the routing table, speaks to the leaders, keeps its
    session by heartbeats, may wait and may hold. With ``simple`` it speaks to one
    member at a time, which routes and forwards, and keeps the session while the
    client uses it; then nothing can be held.
    """

    async def _route(self, flight: _Flight) -> Connection | None:
        """The connection for the next attempt; ``None`` if there is none now."""
        waiting = bool(flight.flags & WAIT) or flight.control
        if self._simple:
            address: str | None = self._endpoints[self._endpoint % len(self._endpoints)]
        else:
            table = self._table
            if flight.call.partition >= len(table.partitions):
                return None
            group_id = table.partitions[flight.call.partition]
            address = self._address(group_id)
            group = table.groups.get(group_id)
            if flight.call.stale and group is not None and group.replicas:
                replica = group.replicas[flight.tries % len(group.replicas)]
                address = table.members.get(replica) or address
            if address is None:
                flight.last = "the partition has no leader that is known"
                self._search()
                return None
        assert address is not None
        try:
            return await self._connection(address, waiting)
        except Closed:
            raise
        except QuorateError as e:
            flight.last = str(e)
            if self._simple:
                self._endpoint += 1
            else:
                self._hints.clear()
                self._search()
            return None

    # Calls.

    async def invoke(self, call: Call) -> wire.Reply:
        """Carries out a call: a mutation is applied at most once."""
        if self.closed:
            raise Closed(operation=f"{call.verb} {call.name}")
        self._check(call)
        flags = (READ if call.read else 0) | (STALE if call.stale else 0)
        flight = _Flight(call, flags | (WAIT if call.waits else 0))
        async with AsyncExitStack() as line:
            if call.waits:
                # A release needs a slot of the same partition: waiting calls leave some.
                for limit, key in (
                    (WAITING_OF_ONE, (call.kind, call.op, call.name)),
                    (WAITING_IN_PARTITION, (call.partition,)),
                ):
                    await line.enter_async_context(
                        self._waiting.setdefault(key, asyncio.Semaphore(limit))
                    )
                return await self._wait_for(flight)
            try:
                reply = await self._run(flight, clock() + self._timeout)
            except BaseException as e:
                if call.late is not None and flight.slots is not None and flight.unsettled:
                    self._settle_later(flight)
                else:
                    flight.release()
                if isinstance(e, asyncio.CancelledError) and self.closed:
                    raise flight.error(Closed) from None
                raise
            return self._finish(flight, reply)

    def _check(self, call: Call) -> None:
        operation = f"{call.verb} {call.name}"
        size = len(call.name.encode())
        if not size or any(ord(c) < 32 or 127 <= ord(c) < 160 for c in call.name):
            raise Invalid("a name has no control characters and is not empty", operation=operation)
        if size > self.limits.name:
            raise TooLarge(
                f"the name has {size} bytes, limit name: {self.limits.name}", operation=operation
            )
        if len(call.body) > self.body_limit:
            raise TooLarge(
                f"the body has {len(call.body)} bytes, limit body: {self.body_limit}",
                operation=operation,
            )

    def _finish(self, flight: _Flight, reply: wire.Reply) -> wire.Reply:
        flight.release()
        call, session = flight.call, flight.session
        call.holder = session
        if call.late is not None and session is not None and reply.code == OK and session.lost:
            self._spawn(call.late(reply, session))
            raise SessionLost(
                "what was granted has been given back", operation=f"{call.verb} {call.name}"
            )
        return reply

    async def _identify(self, flight: _Flight, deadline: float) -> None:
        """Gives a mutation its identity."""
        try:
            async with asyncio.timeout_at(deadline):
                session = flight.call.session or await self._need_session()
                if flight.call.session is not None and session.lost and session.ended:
                    raise flight.error(SessionLost)
                slots = session.slots(flight.call.partition)
                flight.slot, flight.sequence = await slots.acquire()
        except TimeoutError:
            flight.last = flight.last or "no session could be opened, or all slots are in use"
            raise flight.error(Unavailable) from None
        flight.session, flight.slots, flight.sent = session, slots, False

    def _message(self, flight: _Flight, id: int, left: float) -> list[Any]:
        call, flags = flight.call, flight.flags
        if flight.sent:
            flags |= REPEAT
        session = slot = sequence = highest = 0
        if flight.mutates:
            assert flight.session is not None and flight.slots is not None
            session, slot, sequence = flight.session.id, flight.slot, flight.sequence
            highest = flight.slots.highest
            flight.sent = True
        return [
            3, id, call.partition, self._table.epoch, int(left * 1000), flags, call.kind, call.op,
            call.name, session, slot, sequence, highest, call.body,
        ]  # fmt: skip

    async def _run(self, flight: _Flight, deadline: float) -> wire.Reply:
        """Makes attempts until there is a definite answer."""
        while True:
            if flight.mutates and flight.slots is None:
                await self._identify(flight, deadline)
            changed = self._change()
            try:
                async with asyncio.timeout_at(deadline):
                    connection = await self._route(flight)
                    if connection is not None:
                        reply = await self._attempt(flight, connection, deadline)
                    else:
                        reply = None
                        await asyncio.wait({changed}, timeout=backoff(flight.tries, 0.02, 0.4))
            except TimeoutError:
                raise flight.error(Overloaded if flight.busy else Unavailable) from None
            flight.tries += 1
            if reply is not None and await self._judge(flight, reply, deadline):
                return reply
            if clock() >= deadline:
                raise flight.error(Overloaded if flight.busy else Unavailable)

    async def _attempt(
        self, flight: _Flight, connection: Connection, deadline: float
    ) -> wire.Reply | None:
        """Sends a request once; ``None``: it was not answered in time."""
        async with connection.room:
            left = min(random.uniform(0.3, 0.5) * (1 + flight.tries // 4), deadline - clock())
            if left <= 0:
                return None
            id = 0
            try:
                id, future = connection.start(lambda id: self._message(flight, id, left))
                await connection.drain()
                done, _ = await asyncio.wait({future}, timeout=left)
                if done:
                    return future.result()
                flight.last = f"{connection.address}: no answer in time"
            except Lost:
                flight.last = f"{connection.address}: the connection was lost"
            except asyncio.CancelledError:
                flight.unsettled = flight.unsettled or id != 0
                raise
            finally:
                connection.forget(id)
            flight.unsettled = flight.unsettled or id != 0
            if self._simple:
                if not connection.usable:
                    self._endpoint += 1
            else:
                self._search()
            return None

    async def _judge(self, flight: _Flight, reply: wire.Reply, deadline: float) -> bool:
        """Reports whether a reply is the call's; else waits as it asks for."""
        code = reply.code
        flight.busy = False
        if reply.epoch > self._table.epoch:
            self._search()
        if code in (OK, RESERVED, TIMED_OUT) or code >= OWN:
            return True
        entered = code >= 20
        if flight.control and (code == SESSION_ENDED or entered and code != UNKNOWN):
            return True
        detail, hint, leader = reply.problem()
        if code == REPLY_DROPPED:
            flight.unsettled = True
            raise flight.error(ReplyDropped, detail, code)
        if code >= 40:
            unsettled = flight.unsettled and code == 43
            flight.unsettled = unsettled
            raise flight.error(BY_CODE.get(code, Unsupported), detail, code)
        flight.last = detail or f"code {code}"
        wait = backoff(flight.tries, 0.01, 0.4)
        if hint:
            wait = min(hint, 2.0) + wait / 4
        changed = self._change()
        match code:
            case 1:
                if leader and not self._simple:
                    self._hints[self._table.partitions[flight.call.partition]] = leader
                    if flight.tries < 3:
                        return False
                self._search()
            case 2 | 10 | 11:
                self._search()
                if self._simple and code == 10:
                    self._endpoint += 1
            case 20:
                flight.unsettled = True
            case 6:
                session = flight.session
                if session is not None:
                    session.end()
                if flight.call.session is not None or flight.unsettled:
                    raise flight.error(SessionLost, detail, code)
                # No attempt has entered: the call may have another identity.
                flight.release()
                return False
            case 8 | 9:
                flight.full_since = flight.full_since or clock()
                if clock() - flight.full_since > FULL_FOR:
                    raise flight.error(MemoryFull if code == 8 else ReadOnly, detail, code)
            case 4:
                flight.busy = True
                wait = min(wait * 2 ** min(flight.tries, 3), 2.0)
            case _:
                pass
        left = max(min(wait, deadline - clock()), 0)
        await asyncio.wait({changed}, timeout=left)
        return False

    # Calls that wait.

    async def _wait_for(self, flight: _Flight) -> wire.Reply:
        """Carries out a call whose reply may come with a later grant. Its slot is
        kept until the grid has said what became of it."""
        try:
            reply = await self._grant(flight)
        except asyncio.CancelledError:
            result = await self._withdraw(flight)
            if result is None:
                raise
            # A result wins over the end of the caller: it would be lost.
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            return self._finish(flight, result)
        except QuorateError:
            flight.release()
            raise
        if reply.code == RESERVED:
            reply = await self._confirm(flight, reply)
        return self._finish(flight, reply)

    async def _grant(self, flight: _Flight) -> wire.Reply:
        forever = clock() + 1e9
        while True:
            if flight.slots is None:
                await self._identify(flight, forever)
            session = flight.session
            assert session is not None
            waiting_for: set[asyncio.Future[Any]] = {self._change(), session.gone}
            connection = await self._route(flight)
            reply = None
            if connection is None:
                await asyncio.wait(waiting_for, timeout=backoff(flight.tries, 0.02, 0.4))
            else:
                id = 0
                try:
                    id, future = connection.start(lambda id: self._message(flight, id, 0))
                    flight.unsettled = True
                    await asyncio.wait(
                        {future, *waiting_for},
                        timeout=REPEAT_EVERY,
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                    if future.done():
                        reply = future.result()
                except Lost:
                    if self._simple:
                        self._endpoint += 1
                    self._search()
                    await asyncio.sleep(backoff(flight.tries, 0.005, 0.2))
                finally:
                    connection.forget(id)
            if reply is not None:
                if reply.code < 20 and reply.code != 0 and flight.tries == 0:
                    flight.unsettled = False  # its one attempt has not entered
                flight.tries += 1
                if await self._judge(flight, reply, forever):
                    return reply
            elif session.lost:
                # What is granted from now on is nobody's: it ends with the session.
                raise flight.error(SessionLost, session.gone.result())
            else:
                flight.tries += 1

    def _control(self, flight: _Flight, op: int) -> _Flight:
        """An operation on a call, under its identity and in its slot."""
        c = flight.call
        call = Call(CONTROL, op, c.name, c.verb, b"", c.partition)
        control = _Flight(call, 0, control=True)
        control.session, control.slots = flight.session, flight.slots
        control.slot, control.sequence = flight.slot, flight.sequence
        return control

    async def _withdraw(self, flight: _Flight) -> wire.Reply | None:
        """Cancels a waiting call. A result that was on its way is returned."""
        if flight.slots is None or self.closed:
            return None
        if not flight.sent:
            flight.release()
            return None
        settle = self._settle_later(flight)
        done, _ = await asyncio.wait({settle}, timeout=WITHDRAW_TIME)
        if not done or settle.cancelled():
            return None
        reply = settle.result()
        if reply is None or flight.call.late is not None:
            return None  # what was granted is given back
        return reply if reply.code == OK or reply.code >= OWN else None

    def _settle_later(self, flight: _Flight) -> asyncio.Task[wire.Reply | None]:
        """Cancels a call until it is known what became of it. The slot is its own
        until then: its record may be a waiter."""
        control = self._control(flight, CANCEL)
        slots, slot = flight.slots, flight.slot
        flight.slots = None
        late, session = flight.call.late, flight.session

        async def settle() -> wire.Reply | None:
            reply = None
            try:
                while reply is None and session is not None and not session.ended:
                    try:
                        reply = await self._run(control, clock() + 30)
                    except Closed:
                        return None
                    except QuorateError:
                        await asyncio.sleep(0.5)
                if reply is not None and reply.code == SESSION_ENDED and session is not None:
                    session.end()
                if late is not None and reply is not None and reply.code == OK:
                    assert session is not None
                    await late(reply, session)
            finally:
                if slots is not None:
                    slots.release(slot)
            return reply

        return self._spawn(settle())

    async def _confirm(self, flight: _Flight, reply: wire.Reply) -> wire.Reply:
        """Takes what was reserved for a call."""
        if flight.call.accept is not None:
            try:
                flight.call.accept(reply)
            except QuorateError:
                self._settle_later(flight)
                raise
        control = self._control(flight, CONFIRM)
        task = self._spawn(self._run(control, clock() + 1e9))
        try:
            answer = await asyncio.shield(task)
        except asyncio.CancelledError:
            # It may be taken already: the answer decides, for a short while.
            done, _ = await asyncio.wait({task}, timeout=WITHDRAW_TIME)
            if not done:
                task.cancel()
                self._settle_later(flight)
                raise
            answer = task.result()
            current = asyncio.current_task()
            if current is not None:
                current.uncancel()
        if answer.code in (OK, RESERVED, REPLY_DROPPED):
            return wire.Reply(reply.id, OK, reply.epoch, reply.version, reply.body)
        if answer.code == SESSION_ENDED and flight.session is not None:
            flight.session.end()
        flight.unsettled = answer.code == SESSION_ENDED and control.unsettled
        error = flight.error(SessionLost, "what was reserved has been given back", answer.code)
        flight.release()
        raise error
