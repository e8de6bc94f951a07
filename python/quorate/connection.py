"""One connection to a member."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import wire
from .errors import BY_CODE, Unavailable, Unsupported

VERSION = 1
HANDSHAKE_TIMEOUT = 5.0

FORWARD, ROUTE, NO_TABLES = 1, 2, 4  # flags of hello


class Lost(Exception):
    """The connection has ended; a request that was sent may have entered."""


@dataclass
class Hello:
    cluster: str
    client: bytes
    name: str
    flags: int
    session_ttl: int

    def message(self) -> list[Any]:
        return [
            1,
            VERSION,
            VERSION,
            0,
            self.cluster,
            self.client,
            self.name,
            self.flags,
            self.session_ttl,
        ]


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


class Connection:
    """Sends messages and hands each reply to whoever waits for it.

    A request that nobody waits for any more is forgotten: its reply is ignored.
    """

    def __init__(
        self,
        address: str,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        welcome: wire.Welcome,
        on_table: Callable[[wire.Table], None],
    ) -> None:
        self.address = address
        self.welcome = welcome
        self.lost = asyncio.Event()
        self.leaving = False  # the member has said goodbye
        self.room = asyncio.Semaphore(max(welcome.limits.in_flight // 4, 1))
        self._reader, self._writer = reader, writer
        self._on_table = on_table
        self._ids = itertools.count(1)
        self._pending: dict[int, asyncio.Future[wire.Reply]] = {}
        self._tables: dict[int, asyncio.Future[wire.Table]] = {}
        self._reading = asyncio.create_task(self._read())

    @staticmethod
    async def open(
        address: str,
        hello: Hello,
        on_table: Callable[[wire.Table], None],
        timeout: float = HANDSHAKE_TIMEOUT,
    ) -> Connection:
        """Connects and greets. Raises an error that says why the member refuses."""
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(timeout):
                host, port = split(address)
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(wire.PREFACE + wire.frame(hello.message()))
                await writer.drain()
                array = await _next(reader, wire.HANDSHAKE_LIMIT << 6)
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError, wire.Malformed) as e:
            if writer is not None:
                writer.close()
            raise Unavailable(f"{address}: {type(e).__name__} {e}".rstrip()) from e
        except BaseException:
            if writer is not None:
                writer.close()
            raise
        if array[0] == 4:
            writer.close()
            reply = wire.Reply.of(array)
            detail, _, _ = reply.problem()
            kind = BY_CODE.get(reply.code, Unavailable)
            raise kind(f"{address}: {detail or reply.code}", code=reply.code)
        if array[0] != 2:
            writer.close()
            raise Unavailable(f"{address}: the member answers hello with message {array[0]}")
        welcome = wire.Welcome.of(array)
        if welcome.version != VERSION:
            writer.close()
            raise Unsupported(f"{address}: the member speaks version {welcome.version}, not {VERSION}")
        return Connection(address, reader, writer, welcome, on_table)

    @property
    def usable(self) -> bool:
        return not self.leaving and not self.lost.is_set()

    def start(self, message: Callable[[int], list[Any]]) -> tuple[int, asyncio.Future[wire.Reply]]:
        """Sends a message with an ID of its own; the future is its reply."""
        if self._writer.is_closing():
            self._end()
        if self.lost.is_set():
            raise Lost(self.address)
        id = next(self._ids)
        future: asyncio.Future[wire.Reply] = asyncio.get_running_loop().create_future()
        self._pending[id] = future
        self._write(message(id))
        return id, future

    def forget(self, id: int) -> None:
        future = self._pending.pop(id, None)
        if future is not None and not future.done():
            future.cancel()

    async def table(self, have: int) -> wire.Table:
        if self._writer.is_closing():
            self._end()
        if self.lost.is_set():
            raise Lost(self.address)
        id = next(self._ids)
        future: asyncio.Future[wire.Table] = asyncio.get_running_loop().create_future()
        self._tables[id] = future
        try:
            self._write([7, have, id])
            return await future
        finally:
            self._tables.pop(id, None)

    def ping(self, have: int) -> None:
        """Sends something whose answer nobody waits for."""
        if not self._writer.is_closing():
            self._write([7, have, next(self._ids)])

    def _write(self, message: list[Any]) -> None:
        self._writer.write(wire.frame(message))

    async def drain(self) -> None:
        """Waits while the member does not read."""
        try:
            await self._writer.drain()
        except OSError:
            self._end()

    async def close(self) -> None:
        self._reading.cancel()
        self._end()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass

    def _end(self) -> None:
        if self.lost.is_set():
            return
        self.lost.set()
        self._writer.close()
        pending: list[asyncio.Future[Any]] = [*self._pending.values(), *self._tables.values()]
        for future in pending:
            if not future.done():
                future.set_exception(Lost(self.address))
                future.exception()  # nobody may wait any more
        self._pending.clear()
        self._tables.clear()

    async def _read(self) -> None:
        limit = self.welcome.limits.frame or 4 << 20
        try:
            while True:
                self._take(await _next(self._reader, limit))
        except (OSError, asyncio.IncompleteReadError, wire.Malformed):
            pass
        finally:
            self._end()

    def _take(self, array: list[Any]) -> None:
        match array[0]:
            case 4:
                reply = wire.Reply.of(array)
                if reply.id == 0:  # why the member ends the connection
                    raise wire.Malformed(reply.problem()[0])
                future = self._pending.pop(reply.id, None)
                if future is not None and not future.done():
                    future.set_result(reply)
            case 6:
                table = wire.Table.of(array)
                if table.cluster not in (self.welcome.cluster, b"", bytes(16)):
                    return
                answer = self._tables.get(table.id)
                if answer is not None and not answer.done():
                    answer.set_result(table)
                self._on_table(table)
            case 8:
                self.leaving = True
            case _:
                pass  # of a later version


async def _next(reader: asyncio.StreamReader, limit: int) -> list[Any]:
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    if not 0 < length <= limit:
        raise wire.Malformed(f"a frame of {length} bytes")
    array = wire.decode(await reader.readexactly(length))
    if not isinstance(array, list) or not array or not isinstance(array[0], int):
        raise wire.Malformed("not a message")
    return array

