"""What a client knows of a grid."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Awaitable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from . import wire
from .connection import FORWARD, NO_TABLES, ROUTE, Connection, Hello, Lost
from .errors import Closed, Invalid, QuorateError, Unavailable
from .keys import partition_of
from .session import Session, now

SYSTEM_GROUP = 1

OK, NOT_LEADER, NOT_OWNER, BUSY, SESSION_UNKNOWN, SESSION_ENDED = 0, 1, 2, 4, 5, 6
NO_LEADER, UNKNOWN = 11, 20

T = TypeVar("T")


def clock() -> float:
    return asyncio.get_running_loop().time()


def backoff(tries: int, least: float, most: float) -> float:
    return random.uniform(0, min(most, least * 2 ** min(tries, 10)))


class Router:
    """What a client knows of a grid: its connections, its table and its session."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        simple: bool = False,
        cluster: str = "",
        name: str = "python",
        session_ttl: float = 10.0,
        hold_margin: float = 0.0,
        operation_timeout: float = 10.0,
    ) -> None:
        if not endpoints:
            raise Invalid("no endpoint is given")
        for address in endpoints:
            host, colon, port = address.rpartition(":")
            if not colon or not host or not port.isdigit():
                raise Invalid(f"the endpoint {address!r} is not of the form host:port")
        self._endpoints = list(endpoints)
        self._simple, self._cluster, self._name = simple, cluster, name
        self._ttl, self._margin = session_ttl, hold_margin
        self._timeout = operation_timeout
        self._process = uuid.uuid4().bytes  # in each hello
        self._uuid = uuid.uuid4().bytes  # of the session that is opened next
        self._table = wire.Table()
        self._changed: asyncio.Future[None] | None = None
        self._connections: dict[tuple[str, bool], Connection] = {}
        self._opening: dict[tuple[str, bool], asyncio.Task[Connection]] = {}
        self._hints: dict[int, int] = {}  # leaders by group, as answers named them
        self._session: Session | None = None
        self._session_lock = asyncio.Lock()
        self._waiting: dict[tuple[Any, ...], asyncio.Semaphore] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._refreshing: asyncio.Task[None] | None = None
        self._endpoint = 0
        self._problem = ""
        self.closed = False
        self.welcome: wire.Welcome | None = None

    @classmethod
    async def connect(cls, endpoints: Sequence[str], **options: Any) -> Self:
        """Connects within five seconds; the error says why each endpoint failed."""
        client = cls(endpoints, **options)
        try:
            async with asyncio.timeout(5.0):
                await client._first_welcome()
        except TimeoutError:
            await client.close()
            raise Unavailable(client._problem or "no endpoint answers") from None
        except BaseException:
            await client.close()
            raise
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the session, and with it what it holds, and all connections."""
        if self.closed:
            return
        session = self._session
        if session is not None and not session.lost:
            session.lose("the client is closed")
            if not self._simple:
                try:
                    async with asyncio.timeout(1.0):
                        await self._ask_session(3, session.id, 0.5)
                except (TimeoutError, QuorateError, Lost):
                    pass
        self.closed = True
        tasks = [*self._tasks, *self._opening.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._connections.values()):
            await connection.close()

    # Routing.

    @property
    def limits(self) -> wire.Limits:
        assert self.welcome is not None
        return self.welcome.limits

    @property
    def partitions(self) -> int:
        assert self.welcome is not None
        return self.welcome.partitions

    @property
    def routed(self) -> bool:
        """Whether the member finds the partition of a key."""
        return self._simple

    @property
    def body_limit(self) -> int:
        """The most bytes of the body of a request."""
        assert self.welcome is not None
        return self.welcome.body

    def partition(self, name: str, key: bytes | None = None) -> int:
        """Where a key lives. A client whose member routes need not know."""
        if self._simple:
            return 0
        return partition_of(self.partitions, name, key)

    async def _first_welcome(self) -> None:
        tries = 0
        while True:
            problems = []
            for i, address in enumerate(self._endpoints):
                try:
                    connection = await self._connection(address, False)
                except QuorateError as e:
                    problems.append(str(e))
                    continue
                welcome = connection.welcome
                if welcome.partitions and (self._simple or welcome.table.partitions):
                    self._endpoint = i
                    return
                problems.append(f"{address}: the cluster is not formed")
                await connection.close()
            self._problem = "; ".join(problems)
            tries += 1
            await asyncio.sleep(backoff(tries, 0.05, 0.5))

    def _hello(self, address: str, waiting: bool) -> Hello:
        flags, ttl = 0, 0
        if self._simple:
            flags = FORWARD | ROUTE | NO_TABLES
            ttl = int(self._ttl * 1000)
        return Hello(self._cluster, self._process, self._name, flags, ttl)

    async def _connection(self, address: str, waiting: bool) -> Connection:
        """The connection to a member: one for ordinary calls, one for those that wait."""
        at = (address, waiting)
        connection = self._connections.get(at)
        if connection is not None and connection.usable:
            return connection
        task = self._opening.get(at)
        if task is None:
            task = asyncio.create_task(self._open(address, waiting))
            self._opening[at] = task
            task.add_done_callback(lambda _: self._opening.pop(at, None))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Closed("the client is closed") from None
            raise

    async def _open(self, address: str, waiting: bool) -> Connection:
        connection = await Connection.open(address, self._hello(address, waiting), self._learn)
        if self.closed:
            await connection.close()
            raise Closed()
        self._connections[address, waiting] = connection
        welcome = connection.welcome
        if self.welcome is None or welcome.partitions:
            if self.welcome is not None and self.welcome.cluster not in (b"", bytes(16), welcome.cluster):
                self._forget_grid()
            self.welcome = welcome
        self._learn(welcome.table)
        if self._simple and welcome.session:
            self._adopt(welcome.session, welcome.session_ttl / 1000)
        if self._simple and not waiting:
            self._spawn(self._keep_alive(connection))
        return connection

    async def _keep_alive(self, connection: Connection) -> None:
        """Sends something now and then: the member renews the session while bytes
        arrive."""
        every = (connection.welcome.session_ttl / 1000 or self._ttl) / 3
        while connection.usable and not self.closed:
            try:
                async with asyncio.timeout(every):
                    await connection.lost.wait()
            except TimeoutError:
                connection.ping(self._table.epoch)

    def _forget_grid(self) -> None:
        """The grid was formed anew: nothing of the one before is true in it."""
        self._table = wire.Table()
        self._hints.clear()
        if self._session is not None:
            self._session.end()

    def _learn(self, table: wire.Table) -> None:
        if not table.partitions:
            return
        old = self._table
        if old.cluster == table.cluster:
            groups = dict(table.groups)
            for id, group in old.groups.items():
                new = groups.get(id)
                if new is not None and (group.term, group.leader != 0) > (new.term, new.leader != 0):
                    groups[id] = group
            newest = table if table.epoch >= old.epoch else old
            table = wire.Table(newest.epoch, newest.partitions, groups, newest.members, table.cluster)
        for id, group in table.groups.items():
            was = old.groups.get(id)
            if was is None or group.term > was.term:
                self._hints.pop(id, None)
        self._table = table
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)
            self._changed = None

    def _change(self) -> asyncio.Future[None]:
        if self._changed is None:
            self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    def _search(self) -> None:
        """Asks for the table in the background, at one member after the other."""
        if self._simple or self._refreshing is not None or self.closed:
            return
        self._refreshing = self._spawn(self._refresh())

    async def _refresh(self) -> None:
        try:
            addresses = list(dict.fromkeys([*self._table.members.values(), *self._endpoints]))
            random.shuffle(addresses)
            for address in addresses:
                try:
                    async with asyncio.timeout(1.5):
                        connection = await self._connection(address, False)
                        await connection.table(self._table.epoch)
                    break
                except (QuorateError, Lost, TimeoutError):
                    continue
            await asyncio.sleep(0.05)  # at least, between two
        finally:
            self._refreshing = None

    def _address(self, group_id: int) -> str | None:
        group = self._table.groups.get(group_id)
        if group is None:
            return None
        leader = self._hints.get(group_id) or group.leader
        return self._table.members.get(leader) or None

    # Sessions.

    def _adopt(self, id: int, ttl: float) -> Session:
        session = self._session
        if session is not None and session.id == id and not session.lost:
            return session
        if session is not None:
            session.end()
        session = Session(id, ttl, self._margin, self.limits.slots or 1024, self._simple)
        self._session = session
        return session

    async def _need_session(self) -> Session:
        session = self._session
        if session is not None and not session.lost:
            return session
        async with self._session_lock:
            session = self._session
            if session is not None and not session.lost:
                return session
            if session is not None:
                self._uuid = uuid.uuid4().bytes
            if self._simple:
                return await self._simple_session()
            return await self._open_session()

    async def _simple_session(self) -> Session:
        """Greets anew, until the welcome has a session."""
        tries = 0
        while True:
            for connection in list(self._connections.values()):
                await connection.close()
            address = self._endpoints[self._endpoint % len(self._endpoints)]
            try:
                await self._connection(address, False)
            except Closed:
                raise
            except QuorateError:
                self._endpoint += 1
            if self._session is not None and not self._session.lost:
                return self._session
            tries += 1
            await asyncio.sleep(backoff(tries, 0.05, 0.5))

    async def _open_session(self) -> Session:
        first = now()
        tries = 0
        while True:
            if now()[0] - first[0] > max(self._ttl / 4, 1.0):
                self._uuid, first = uuid.uuid4().bytes, now()
            reply = await self._session_attempt(1, 0, random.uniform(0.3, 0.5))
            if reply is not None and reply.code == OK:
                id, ttl = wire.items(wire.decode(reply.body), 2)
                session = self._adopt(id, ttl / 1000)
                session.acked = first
                self._spawn(session.watch())
                self._spawn(self._beat(session))
                return session
            tries += 1
            await asyncio.sleep(backoff(tries, 0.01, 0.4))

    async def _session_attempt(self, action: int, session: int, timeout: float) -> wire.Reply | None:
        try:
            return await self._ask_session(action, session, timeout)
        except Closed:
            raise
        except (QuorateError, Lost, TimeoutError):
            self._search()
            return None

    async def _ask_session(self, action: int, session: int, timeout: float) -> wire.Reply:
        address = self._address(SYSTEM_GROUP)
        if address is None:
            raise Unavailable("the system group has no leader that is known")
        connection = await self._connection(address, False)
        client, ttl = (self._uuid, int(self._ttl * 1000)) if action == 1 else (bytes(16), 0)
        id, future = connection.start(lambda id: [9, id, action, client, session, ttl])
        try:
            async with asyncio.timeout(timeout):
                reply = await future
        finally:
            connection.forget(id)
        if reply.code == NOT_LEADER:
            _, _, leader = reply.problem()
            if leader:
                self._hints[SYSTEM_GROUP] = leader
            else:
                self._search()
        elif reply.code in (NO_LEADER, UNKNOWN):
            self._search()
        return reply

    async def _beat(self, session: Session) -> None:
        while not session.lost:
            await asyncio.wait({session.gone}, timeout=session.ttl / 5)
            if not session.lost:
                # One does not wait for the one before.
                self._spawn(self._heartbeat(session))

    async def _heartbeat(self, session: Session) -> None:
        until = clock() + max(session.ttl / 4, 1.0)
        tries = 0
        while not session.lost and clock() < until:
            sent = now()
            reply = await self._session_attempt(2, session.id, until - clock() if tries > 3 else 0.5)
            if reply is not None and reply.code == OK:
                session.acknowledged(sent)
                return
            if reply is not None and reply.code == SESSION_ENDED:
                session.end()
                return
            tries += 1
            await asyncio.sleep(backoff(tries, 0.01, 0.4))

    def _spawn(self, work: Coroutine[Any, Any, T] | Awaitable[T]) -> asyncio.Task[T]:
        async def run() -> T:
            return await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

